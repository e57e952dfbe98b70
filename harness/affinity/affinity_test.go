package affinity

import (
	"os/exec"
	"runtime"
	"strings"
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
