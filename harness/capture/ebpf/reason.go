package ebpf

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

const btfPath = "/sys/kernel/btf/vmlinux"

// initialPIDNamespace is the kernel's PROC_PID_INIT_INO.
const initialPIDNamespace = "pid:[4026531836]"

// A shortfall is something that the machine or the user lacks, with what gives it.
type shortfall struct {
	missing string
	mend    string
	cause   error
}

func (s *shortfall) Error() string {
	text := s.missing
	if s.mend != "" {
		text += "; mend: " + s.mend
	}
	return text
}

func (s *shortfall) Unwrap() error { return s.cause }

// machineReady is an error when no program of this package could work here,
// whatever it is.
func machineReady() error { return machineReadyAt(btfPath, "/proc/self/ns/pid") }

func machineReadyAt(types, pidNamespace string) error {
	if _, err := os.Stat(types); errors.Is(err, fs.ErrNotExist) {
		return &shortfall{
			missing: "the kernel has no type information (" + types + ")",
			mend:    "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y",
			cause:   err,
		}
	}
	if ns, err := os.Readlink(pidNamespace); err == nil && ns != initialPIDNamespace {
		return &shortfall{
			missing: "chokepoint runs in a PID namespace of its own, where process ids are not the kernel's",
			mend:    "run it in the host's PID namespace (docker run --pid=host)",
		}
	}
	return nil
}

// explain turns a refusal of the kernel into what is missing and what gives it.
func explain(probe string, err error) error {
	if err == nil {
		return nil
	}
	// First what is held: without the capabilities the kernel refuses the
	// library's own enquiries too, and what it makes of that is no ErrPermission
	// ("prealloc maps not supported").
	held, heldErr := effectiveCapabilities()
	if heldErr == nil {
		if missing := missingCapabilities(held); len(missing) > 0 {
			return notPermitted(missing, err)
		}
	}
	var verifier *ebpf.VerifierError
	var known *shortfall
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, os.ErrPermission) && heldErr != nil:
		return fmt.Errorf("load probe %s: the kernel does not permit it, and what is held cannot be told: %w", probe, errors.Join(heldErr, err))
	case errors.Is(err, os.ErrPermission):
		return &shortfall{
			missing: fmt.Sprintf("the kernel does not permit the %s probe although CAP_BPF and CAP_PERFMON are held: "+
				"a container's seccomp profile, a user namespace or kernel lockdown refuses bpf(2) or perf_event_open(2)", probe),
			mend:  "see /sys/kernel/security/lockdown, or start the container with --privileged",
			cause: err,
		}
	case errors.Is(err, btf.ErrNotFound) || errors.Is(err, ebpf.ErrNotSupported):
		return &shortfall{
			missing: fmt.Sprintf("this kernel lacks something that the %s probe needs: %v", probe, err),
			mend:    "use Linux 5.18 or later",
			cause:   err,
		}
	case errors.As(err, &verifier):
		return &shortfall{
			missing: fmt.Sprintf("the kernel's verifier refused the %s program: %v", probe, verifier),
			mend:    "use Linux 5.18 or later; on one, please report this with the kernel's version",
			cause:   err,
		}
	case errors.Is(err, unix.ENOMEM):
		return &shortfall{
			missing: fmt.Sprintf("the kernel has no memory for the maps of the %s probe", probe),
			mend:    "raise the memory limit of chokepoint's control group",
			cause:   err,
		}
	}
	return fmt.Errorf("load probe %s: %w", probe, err)
}

// notPermitted names the capabilities that are not held. The text of the
// refusal itself is no help: it speaks of MEMLOCK whatever was refused.
func notPermitted(missing []string, cause error) error {
	return &shortfall{
		missing: "the kernel does not permit eBPF: " + strings.Join(missing, " and ") + " missing",
		mend:    setcap(),
		cause:   cause,
	}
}

// missingCapabilities is which capabilities that every probe needs are not in
// held, a mask as in /proc/self/status.
func missingCapabilities(held uint64) []string {
	var missing []string
	for _, c := range []string{capBPF, capPerfmon} {
		if !holdsOrStandIn(held, c) {
			missing = append(missing, c)
		}
	}
	return missing
}

func effectiveCapabilities() (uint64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if hex, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, errors.Join(errors.New("/proc/self/status has no CapEff"), lines.Err())
}
