package ebpf

import (
	"bufio"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
)

// kernelSymbols names addresses of the kernel.
type kernelSymbols struct {
	addrs []uint64
	names []string
}

// readKernelSymbols reads /proc/kallsyms. Where the kernel hides addresses
// (kernel.kptr_restrict) there are no symbols, and hidden is true.
func readKernelSymbols() (k *kernelSymbols, hidden bool, err error) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return &kernelSymbols{}, true, err
	}
	defer f.Close()
	k, err = parseKallsyms(f)
	return k, len(k.addrs) == 0, err
}

func parseKallsyms(r io.Reader) (*kernelSymbols, error) {
	k := &kernelSymbols{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		// ffffffff81000000 T _stext [module]
		f := strings.Fields(lines.Text())
		if len(f) < 3 || !strings.ContainsAny(f[1], "tTwW") {
			continue
		}
		addr, err := strconv.ParseUint(f[0], 16, 64)
		if err != nil || addr == 0 {
			continue
		}
		k.addrs = append(k.addrs, addr)
		k.names = append(k.names, f[2])
	}
	sort.Stable(k)
	return k, lines.Err()
}

func (k *kernelSymbols) Len() int           { return len(k.addrs) }
func (k *kernelSymbols) Less(i, j int) bool { return k.addrs[i] < k.addrs[j] }
func (k *kernelSymbols) Swap(i, j int) {
	k.addrs[i], k.addrs[j] = k.addrs[j], k.addrs[i]
	k.names[i], k.names[j] = k.names[j], k.names[i]
}

// name is the kernel function at addr, as "name [kernel]".
func (k *kernelSymbols) name(addr uint64) string {
	n := sort.Search(len(k.addrs), func(n int) bool { return k.addrs[n] > addr }) - 1
	if n < 0 {
		return "[kernel]"
	}
	// Several names may share an address; the first keeps the answer stable.
	for n > 0 && k.addrs[n-1] == k.addrs[n] {
		n--
	}
	return k.names[n] + " [kernel]"
}
