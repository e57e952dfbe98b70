package mark_test

import (
	"context"
	"errors"
	"fmt"

	"chokepoint/mark"
)

// A checkout is a task; the check of its token and its wait for the bank are
// regions of it. They cost nothing to speak of until somebody records a trace.
func Example() {
	verify := func(token string) (string, error) {
		if token == "" {
			return "", errors.New("no token")
		}
		return "alice", nil
	}
	checkout := func(ctx context.Context, token string) error {
		ctx, task := mark.Begin(ctx, "checkout", mark.String("route", "/checkout"))
		defer task.End()

		customer, err := mark.Call(ctx, "verify token", func() (string, error) {
			return verify(token)
		}, mark.String("alg", "RS256"))
		if err != nil {
			mark.Event(ctx, "refused", mark.String("why", err.Error()))
			return err
		}
		mark.Do(ctx, "wait for bank", func() {
			fmt.Println("charging", customer)
		})
		return nil
	}
	fmt.Println(checkout(context.Background(), "t"))
	fmt.Println(checkout(context.Background(), ""))
	// Output:
	// charging alice
	// <nil>
	// no token
}

// A task may end on another goroutine than the one that began it.
func ExampleBegin() {
	_, task := mark.Begin(context.Background(), "send receipt", mark.Int("items", 3))
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer task.End()
		fmt.Println("sent")
	}()
	<-done
	// Output: sent
}

func ExampleParseAttrs() {
	pairs, err := mark.ParseAttrs(`alg=RS256 why="token is expired"`)
	fmt.Println(pairs, err)
	// Output: [{alg RS256} {why token is expired}] <nil>
}
