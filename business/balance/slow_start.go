package balance

import "time"

// least is the share that the newest instance gets.
const least = 0.1

// ramp is the share of its weight that an instance of some age gets: from a tenth,
// as time goes by, to all of it. The shape and the floor are those of Envoy's slow
// start with its default aggression. A cold instance, with empty caches and
// connections to be opened, would answer late what an equal share of the calls brings.
func ramp(age, window time.Duration) float64 {
	if window <= 0 || age >= window {
		return 1
	}
	return max(least, float64(age)/float64(window))
}
