package signal

import (
	"errors"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// blocked is the block profile, and an error where it holds no sample. It only has
// waits that the program asks it to draw, and the file does not say whether it does:
// nothing in it is no evidence that nothing waited. A profile in which there are
// none but the recording's own requests was asked for.
func (e *evidence) blocked() (*samples, error) {
	p, err := e.profile(bundle.DimPprof, bundle.BlockProfile)
	if err != nil {
		return nil, err
	}
	if p.drew == 0 {
		return nil, errors.New("pprof: the block profile is empty: the program does not ask for one (runtime.SetBlockProfileRate), or nothing in it waited")
	}
	return p, nil
}

// contended is the mutex profile, and an error where it holds no sample and nobody
// else tells that nothing waited for a lock. The block profile does, where it has
// samples and none of them is a wait for a lock.
func (e *evidence) contended() (*samples, error) {
	p, err := e.profile(bundle.DimPprof, bundle.MutexProfile)
	if err != nil {
		return nil, err
	}
	if p.drew > 0 {
		return p, nil
	}
	if b, err := e.blocked(); err == nil && b.of("delay", e.forLock) == 0 {
		return p, nil
	}
	return nil, errors.New("pprof: the mutex profile is empty: the program does not ask for one (runtime.SetMutexProfileFraction), or nothing in it waited for a lock")
}

// forLock picks waits for locks.
func (e *evidence) forLock(s sample) bool { return e.program.WaitOf(s.frames) == stack.Lock }
