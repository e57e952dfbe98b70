package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"time"

	"chokepoint/targets/kit"
)

// offer is what a carrier asks.
type offer struct {
	carrier string
	tariff  string // "kg:cents;..." by rising weight
	cents   int64
	seal    string
}

// desk compares offers.
type desk struct {
	carriers []*kit.Dependency
	parcels  int
	rounds   int // how often a shipment is priced: at so many dates
}

func newDesk(ctx context.Context, o kit.Options) *desk {
	d := &desk{parcels: max(1, o.Int("parcels")), rounds: 1}
	for i := range max(1, o.Int("carriers")) {
		// The first answers soonest, the last takes the whole delay.
		d.carriers = append(d.carriers, kit.NewDependency(ctx, o.Duration("delay")*time.Duration(i+1)/time.Duration(max(1, o.Int("carriers")))))
	}
	d.rounds = d.roundsIn(o.Duration("pricing"))
	return d
}

// roundsIn is how many dates are priced in about so much CPU time on this machine,
// by the best of several tries: a machine that is busy with other things looks slow.
func (d *desk) roundsIn(budget time.Duration) int {
	offers := make([]offer, len(d.carriers))
	for i := range offers {
		offers[i] = quote(i, 7)
	}
	least := time.Duration(1<<63 - 1)
	for n := range 60 {
		began := time.Now()
		d.best(n, offers)
		least = min(least, time.Since(began))
	}
	return max(1, int(budget/max(least, 1)))
}

// gather asks all carriers and takes their offers as they come.
func (d *desk) gather(ctx context.Context, shipment int) ([]offer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan offer)
	failed := make(chan error, len(d.carriers))
	for i, c := range d.carriers {
		go func() {
			if err := c.Call(ctx); err != nil {
				failed <- err
				return
			}
			select {
			case answers <- quote(i, shipment):
			case <-ctx.Done():
			}
		}()
	}
	offers := make([]offer, 0, len(d.carriers))
	for len(offers) < len(d.carriers) {
		select {
		case o := <-answers:
			offers = append(offers, o)
		case err := <-failed:
			return nil, fmt.Errorf("asking the carriers: %w", err)
		case <-ctx.Done():
			return nil, fmt.Errorf("asking the carriers: %w", context.Cause(ctx))
		}
	}
	// In the order of the carriers: who answers first must not matter.
	slices.SortFunc(offers, func(a, b offer) int { return cmp.Compare(a.carrier, b.carrier) })
	return offers, nil
}

// quote is what a carrier answers.
func quote(carrier, shipment int) offer {
	var b strings.Builder
	for kg := 1; kg <= 32; kg *= 2 {
		b.WriteString(strconv.Itoa(kg))
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(300 + 10*kg + 7*carrier + shipment%13))
		b.WriteByte(';')
	}
	return offer{carrier: "carrier-" + strconv.Itoa(carrier), tariff: b.String()}
}

// best is the cheapest offer over all dates, with its price and seal.
func (d *desk) best(shipment int, offers []offer) offer {
	var best offer
	for date := range d.rounds {
		for _, o := range offers {
			steps := parse(o.tariff)
			o.cents = price(steps, weigh(shipment, d.parcels))
			o.seal = seal(o, shipment)
			if date == 0 && best.carrier == "" || o.cents < best.cents {
				best = o
			}
		}
	}
	return best
}

type step struct{ kg, cents int }

func parse(tariff string) []step {
	var steps []step
	for part := range strings.SplitSeq(strings.TrimSuffix(tariff, ";"), ";") {
		kg, cents, _ := strings.Cut(part, ":")
		k, _ := strconv.Atoi(kg)
		c, _ := strconv.Atoi(cents)
		steps = append(steps, step{k, c})
	}
	return steps
}

// weigh is the weights of a shipment's parcels, lightest first.
func weigh(shipment, parcels int) []int {
	weights := make([]int, parcels)
	for i := range weights {
		weights[i] = 1 + int(crc32.ChecksumIEEE([]byte{byte(shipment), byte(shipment >> 8), byte(i)})%32)
	}
	slices.Sort(weights)
	return weights
}

func price(steps []step, weights []int) (cents int64) {
	for _, kg := range weights {
		i, found := slices.BinarySearchFunc(steps, kg, func(s step, kg int) int { return cmp.Compare(s.kg, kg) })
		if !found && i == len(steps) {
			i--
		}
		cents += int64(steps[i].cents)
	}
	return cents
}

// seal lets a customer prove the offer later.
func seal(o offer, shipment int) string {
	sum := sha256.Sum256([]byte(o.carrier + "/" + strconv.FormatInt(o.cents, 10) + "/" + strconv.Itoa(shipment)))
	return hex.EncodeToString(sum[:6])
}
