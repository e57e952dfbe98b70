// Package schedule says how much load is asked for at each moment of an attack.
// It is arithmetic alone, but for the pacer, which waits until a request is due.
// All times are measured from the attack's beginning.
//
// # Open loop and closed loop
//
// In an open loop requests leave at a rate, as those of many users do who know
// nothing of each other: a slow server gets as many as a fast one, and they pile
// up. The level is then in requests a second.
//
// In a closed loop so many requests are in flight, and the next one leaves when
// one has ended, as those of so many clients do who each wait for their answer: a
// slow server gets fewer. The level is then in requests in flight. Nothing is due
// at a certain time.
//
// # Stages
//
// A schedule is a list of stages. In each the level moves in a straight line from
// that of the stage before (0 at first) to the stage's own, over its ramp, and
// then stays for its hold. A ramp of 0 is a step. A spike is a step up with a
// short hold, and a step back down.
//
// One stage is captured. How long its hold takes is not known beforehand: it goes
// on until Release says when it ends, and the stages behind it follow from there.
// The last stage has no end; the attack is ended from outside.
//
// # Due times
//
// Let L(t) be the level of an open loop in requests a second. Then
//
//	C(t) = ∫₀ᵗ L(x) dx
//
// requests have become due by t, and request n, counted from 0, is due when C
// grows beyond n. Where the level is 0, C does not grow: a request that would fall
// on the beginning of such a pause is due at its end.
//
// A schedule is made of segments (a ramp is one, a hold is another) on which the
// level is a straight line. On one of duration T, from level L₀ to L₁, after r
// requests of the segment,
//
//	L₀ = L₁:   t = r / L₀
//	L₀ < L₁:   t = T u,       (A₁ - A₀) u²/2 + A₀ u = r,   A = L T
//	           u = 2r / (A₀ + √(A₀² + 2 (A₁ - A₀) r))
//
// The second line is the root of the quadratic in the form that adds positive
// numbers only, so that nothing cancels, and that also holds at L₀ = 0. A falling
// ramp is a rising one looked at from its end, and is computed from there.
//
// C at the segments' borders is summed in exact fractions of the levels as they are
// written in decimal (0.1/s is a tenth), and kept as a whole number and a
// remainder. So a hold of 10 s at 0.1/s has one request and not sometimes two, and
// a due time is as exact after a day at 1,000,000/s as in the first second.
//
// # Coordinated omission
//
// A generator that is held up, by a stall of the server or by its own lack of CPU,
// sends late. If latency is measured from when a request was sent, the wait before
// that is missing, and it is missing exactly when the server was worst: generator
// and server coordinate to omit it. A user who came when the request was due has
// waited all the same. So
//
//	lag               = sent - due
//	service time      = response arrived - sent
//	corrected latency = response arrived - due = service time + lag
//
// The due time must not depend on what happened: here it depends on the schedule
// and the request's number alone. A request that is overdue leaves at once, and the
// requests behind it keep their due times.
//
// # Shards
//
// Of n workers that share an open loop, worker i sends requests i, i+n, i+2n, … of
// the whole, each when it is due: together they send what one alone would. In a
// closed loop at level L, slots 0 to L-1 are dealt out in the same way, so that the
// workers' shares add up to L at any time and differ by one at most.
package schedule
