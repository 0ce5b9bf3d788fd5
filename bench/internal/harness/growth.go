package harness

// Figures of a cell of growth.
const (
	FigGrowth     = "growth"      // how many times as large a figure became
	FigGrowthFrom = "growth_from" // what it was
	FigGrowthTo   = "growth_to"   // what it became
)

// Growth adds a cell that is not measured: by how much a figure of each contestant
// grew from one cell to another, round by round. There is none when one of the
// cells was not measured.
func (r *Runner) Growth(name, from, to, figure string) {
	for _, c := range r.Table.Contestants {
		a, b := r.Result.Row(from, c.Name), r.Result.Row(to, c.Name)
		if a == nil || b == nil {
			continue
		}
		for round := range min(len(a.Samples), len(b.Samples)) {
			x, ok := a.Samples[round][figure]
			y, also := b.Samples[round][figure]
			if ok && also && x != 0 {
				r.Result.row(name, c).keep(round, Sample{FigGrowth: y / x, FigGrowthFrom: x, FigGrowthTo: y})
			}
		}
	}
}
