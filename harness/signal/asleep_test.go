package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSleptInCalls(t *testing.T) {
	for name, c := range map[string]struct {
		at, unseen threadTime
		calls      int64
		want       float64
		unknown    string
	}{
		"seen asleep":                                      {threadTime{slept: 90, ran: 10}, threadTime{}, 100, 0.9, ""},
		"seen on a CPU":                                    {threadTime{slept: 1, ran: 99}, threadTime{}, 100, 0.01, ""},
		"seen, on a busy machine":                          {threadTime{slept: 9, ran: 1, queued: 90}, threadTime{}, 100, 0.9, ""},
		"seen, beside C that sleeps all the time":          {threadTime{ran: 100}, threadTime{slept: 1000}, 100, 0, ""},
		"asleep in C":                                      {threadTime{}, threadTime{slept: 99, ran: 1}, 100, 0.99, ""},
		"asleep in C, with more threads there":             {threadTime{}, threadTime{slept: 500, ran: 1}, 100, 0.99, ""},
		"on a CPU in C":                                    {threadTime{}, threadTime{slept: 2, ran: 98}, 100, 0.02, ""},
		"waiting for a CPU in C":                           {threadTime{}, threadTime{slept: 1, ran: 19, queued: 80}, 100, 0.05, ""},
		"on a CPU in C, beside C that sleeps all the time": {threadTime{}, threadTime{slept: 500, ran: 40, queued: 60}, 100, 0, ""},
		"hardly seen at all":                               {threadTime{ran: 1}, threadTime{}, 100, 0, "1%"},
		"not seen at all":                                  {threadTime{}, threadTime{}, 100, 0, "0%"},
		"hidden in part only":                              {threadTime{}, threadTime{slept: 40}, 100, 0, "40%"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sleptInCalls(c.at, c.unseen, c.calls)
			if c.unknown != "" {
				assert.ErrorContains(t, err, c.unknown)
				return
			}
			assert.NoError(t, err)
			assert.InDelta(t, c.want, got, 0.003)
		})
	}
}
