package rule

import "chokepoint/harness/signal"

// catalogue is the signals of the rules in testdata.
func catalogue() []signal.Definition {
	number := func(dimension, name string, unit signal.Unit) signal.Definition {
		return signal.Definition{Name: dimension + "." + name, Dimension: dimension, Kind: signal.Number, Unit: unit}
	}
	place := func(dimension, name string) signal.Definition {
		return signal.Definition{Name: dimension + "." + name, Dimension: dimension, Kind: signal.Place}
	}
	return []signal.Definition{
		number("trace", "lock_wait_share", signal.Share),
		number("trace", "lock_holder_share", signal.Share),
		place("trace", "lock_holder_site"),
		place("trace", "lock_holder_blocked_site"),
		number("pprof", "mutex_delay_top_share", signal.Share),
		place("pprof", "mutex_top_site"),
		number("ebpf", "epoll_waits_per_event", signal.Ratio),
		number("ebpf", "epoll_wait_mean", signal.Nanosecond),
		number("ebpf", "epoll_cpu_share", signal.Share),
		place("ebpf", "epoll_site"),
		number("ebpf", "wakeups", signal.Count),
		number("ebpf", "switch_rate", signal.Hertz),
		number("proc", "rss", signal.Byte),
		number("proc", "threads", signal.NoUnit),
		number("load", "latency_p99", signal.Second),
	}
}

// measured makes a set of numbers (float64) and places (signal.Location).
func measured(values map[string]any) signal.Set {
	set := signal.Set{Signals: map[string]signal.Signal{}, Missing: map[string]string{}}
	for _, d := range catalogue() {
		switch v := values[d.Name].(type) {
		case float64:
			set.Signals[d.Name] = signal.Signal{Definition: d, Value: v}
		case signal.Location:
			set.Signals[d.Name] = signal.Signal{Definition: d, Where: v}
		case string:
			set.Missing[d.Name] = v
		}
	}
	return set
}

func everything(string) (bool, string) { return true, "" }
