package main

import "runtime"

// deployment is what the settings of the deployment say of the process.
type deployment struct {
	procs int // CPUs; 0: as many as there are
}

// apply puts the settings in force.
func (d deployment) apply() {
	if d.procs > 0 {
		runtime.GOMAXPROCS(d.procs) // chokepoint:flaw gomaxprocs-starvation
	}
}
