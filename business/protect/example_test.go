package protect_test

import (
	"fmt"
	"sync"
	"time"

	"trefoil/business/protect"
)

// A server puts requests into a Queue, and as many goroutines as it allows take
// them out. A goroutine that finds nothing ends; who puts something in starts one,
// if there is room.
func ExampleQueue() {
	var running sync.WaitGroup
	queue := protect.NewQueue(protect.QueueConfig{}, func(request string, why protect.Reason) {
		fmt.Println(request, "is refused:", why)
	}, time.Now())
	handlers := protect.NewConcurrency(1)

	work := func() {
		for {
			request, ok := queue.Pop(time.Now())
			if ok {
				fmt.Println(request, "is handled")
				continue
			}
			handlers.Leave()
			// One that came after Pop found none, and did not start a goroutine.
			if queue.Len() == 0 || !handlers.Enter() {
				return
			}
		}
	}
	receive := func(request string, deadline time.Time) {
		queue.Push(request, deadline, time.Now())
		if handlers.Enter() {
			running.Go(work)
		}
	}
	receive("one", time.Now().Add(time.Minute))
	running.Wait()
	receive("two", time.Now().Add(-time.Second))
	running.Wait()
	// Output:
	// one is handled
	// two is refused: past its deadline
}

// A caller asks its Budget before a retry, and pauses.
func ExampleBudget() {
	now := time.Now()
	budget := protect.NewBudget(protect.BudgetConfig{PerSecond: 1}, now)
	budget.Call()
	for retry := range 3 {
		if !budget.Spend(now) {
			fmt.Println("no more retries: the service has enough to do")
			break
		}
		pause := protect.Backoff{}.Pause(retry, 0)
		fmt.Println("a retry, within", 50*time.Millisecond<<retry, pause <= 50*time.Millisecond<<retry)
	}
	// Output:
	// a retry, within 50ms true
	// no more retries: the service has enough to do
}

// A caller hedges a call of a method that may be called twice.
func ExampleHedge() {
	begun := time.Now()
	hedge := protect.NewHedge(protect.HedgeConfig{Fixed: 20 * time.Millisecond}, begun)
	for range 100 { // earlier calls
		hedge.Call()
	}
	hedge.Call()
	if wait, ok := hedge.After(); ok {
		// No answer after so long:
		fmt.Println("after", wait, "a second provider is asked:", hedge.Extra(0, begun.Add(wait)))
	}
	hedge.Ended(time.Since(begun)) // the first answer counts, the other attempt is cancelled
	// Output: after 20ms a second provider is asked: true
}
