package score

// chance is the detector that looks at no evidence. It knows how often each
// answer is true in the corpus, an answer being a cause or none, and draws
// answers one after another without putting them back, each with a probability
// in proportion to how often it is true. Drawing none ends its list. Of a cause
// it draws, it names the place by drawing one of the corpus' flaws of that cause.
//
// What it can expect is computed exactly. Nothing is drawn.
type chance struct {
	outcomes []Outcome
	p        map[string]float64 // by cause, and none
}

func newChance(outcomes []Outcome) chance {
	n, all := map[string]float64{}, 0.0
	for _, o := range outcomes {
		if len(o.Flaws) == 0 {
			n[None]++
			all++
		}
		for _, f := range o.Flaws {
			n[f.Cause]++
			all++
		}
	}
	c := chance{outcomes: outcomes, p: map[string]float64{}}
	for answer, count := range n {
		c.p[answer] = count / all
	}
	return c
}

// first is the probability that cause stands first in the list.
func (c chance) first(cause string) float64 { return c.p[cause] }

// amongThree is the probability that cause is among the first three answers, and
// that none was not drawn before it. Answers are drawn without putting back, so
// that after a, b follows with p(b) / (1 - p(a)).
func (c chance) amongThree(cause string) float64 {
	p := c.p[cause]
	sum := p
	for _, a := range c.others(cause) {
		pa := c.p[a]
		sum += pa * p / (1 - pa)
		for _, b := range c.others(cause, a) {
			pb := c.p[b]
			sum += pa * pb / (1 - pa) * p / (1 - pa - pb)
		}
	}
	return sum
}

// others lists the causes that occur, but for some, in a stable order.
func (c chance) others(but ...string) []string {
	var names []string
	for answer := range c.p {
		if answer == None {
			continue
		}
		names = append(names, answer)
	}
	names = distinct(names)
	kept := names[:0]
next:
	for _, n := range names {
		for _, b := range but {
			if n == b {
				continue next
			}
		}
		kept = append(kept, n)
	}
	return kept
}

// placed are the probabilities that a place drawn from the flaws of the same
// cause is in the function of f, and on its line.
func (c chance) placed(f Flaw) (function, line float64) {
	var all, sameFunction, sameLine float64
	for _, o := range c.outcomes {
		for _, g := range o.Flaws {
			if g.Cause != f.Cause {
				continue
			}
			all++
			if g.Function == f.Function && g.File == f.File {
				sameFunction++
				if g.Line == f.Line {
					sameLine++
				}
			}
		}
	}
	return sameFunction / all, sameLine / all
}

func (c chance) overall() Rates { return c.rates("") }

// of is what the chance detector can expect of one cause.
func (c chance) of(cause string) Rates { return c.rates(cause) }

// rates are the expected measures. Its precision and recall are those of its
// first answer, and its precision is the expected number of right ones over the
// expected number of answers.
func (c chance) rates(cause string) Rates {
	var r Rates
	var answers, right float64 // expected, over all recordings
	for _, o := range c.outcomes {
		if cause == "" {
			answers += 1 - c.p[None]
		} else {
			answers += c.p[cause]
		}
		var in1, in3 float64
		flaws := 0
		for _, f := range o.Flaws {
			if cause != "" && f.Cause != cause {
				continue
			}
			flaws++
			first := c.first(f.Cause)
			function, line := c.placed(f)
			right += first
			r.Recall.add(first)
			r.Function.add(first * function)
			r.Line.add(first * line)
			in1 += first
			in3 += c.amongThree(f.Cause)
		}
		if flaws > 0 {
			r.AC1.add(in1 / float64(min(1, flaws)))
			r.AC3.add(in3 / float64(min(3, flaws)))
		}
		if len(o.Flaws) == 0 && cause == "" {
			r.Silent.add(c.p[None])
		}
	}
	// The expected number of answers is no whole number: per recording it is the
	// same share.
	if answers > 0 {
		r.Precision = Share{Part: right / answers * float64(len(c.outcomes)), Of: len(c.outcomes)}
	}
	return r
}
