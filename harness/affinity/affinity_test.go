package affinity

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAProcessRunsWhereItWasStarted(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &before))
	mine := list(before)
	for _, cpus := range [][]int{nil, mine[:1], mine} {
		cmd := exec.Command("grep", "Cpus_allowed_list", "/proc/self/status")
		var out strings.Builder
		cmd.Stdout = &out
		require.NoError(t, Start(cpus, cmd.Start))
		require.NoError(t, cmd.Wait())
		want := mine
		if len(cpus) > 0 {
			want = cpus
		}
		assert.Equal(t, len(want), count(strings.TrimSpace(strings.TrimPrefix(out.String(), "Cpus_allowed_list:"))), out.String())
		var after unix.CPUSet
		require.NoError(t, unix.SchedGetaffinity(0, &after))
		assert.Equal(t, before, after, "this thread is as it was")
	}
}

// count is how many CPUs a list such as "0-1,4" names.
func count(text string) int {
	n := 0
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			n++
			continue
		}
		n += number(to) - number(from) + 1
	}
	return n
}

func number(s string) int {
	n := 0
	for _, c := range s {
		n = 10*n + int(c-'0')
	}
	return n
}

func TestACPUThatIsNotThere(t *testing.T) {
	err := Start([]int{1000}, func() error { t.Fatal("started"); return nil })
	require.ErrorContains(t, err, "CPU 1000")
}

func TestSelfBindsEveryThread(t *testing.T) {
	all, err := Allowed()
	require.NoError(t, err)
	// Threads that exist already, and hold still.
	hold := make(chan struct{})
	var ready, gone sync.WaitGroup
	for range 3 {
		ready.Add(1)
		gone.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			<-hold
		})
	}
	ready.Wait()
	bound := func() (counts []int) {
		threads, err := os.ReadDir("/proc/self/task")
		require.NoError(t, err)
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			require.NoError(t, err)
			var set unix.CPUSet
			if err := unix.SchedGetaffinity(tid, &set); err == nil { // else it has ended
				counts = append(counts, set.Count())
			}
		}
		return counts
	}
	require.NoError(t, Self(all[:1]))
	for _, n := range bound() {
		assert.Equal(t, 1, n)
	}
	now, err := Allowed()
	require.NoError(t, err)
	assert.Equal(t, all[:1], now)
	require.NoError(t, Self(all))
	for _, n := range bound() {
		assert.Equal(t, len(all), n)
	}
	close(hold)
	gone.Wait()
	assert.Error(t, Self([]int{1000}), "there is no such CPU")
}
