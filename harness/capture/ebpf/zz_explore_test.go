package ebpf

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cebpf "github.com/cilium/ebpf"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

func TestExplore(t *testing.T) {
	pid, _ := strconv.Atoi(os.Getenv("EXPLORE_PID"))
	if pid == 0 {
		t.Skip()
	}
	r := New(Config{})
	defer r.Close()
	t0 := time.Now()
	if err := r.Prepare(t.Context(), capture.Subject{PID: pid}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("prepare", time.Since(t0))
	var n atomic.Int64
	stop := make(chan bool)
	var wg sync.WaitGroup
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 400}}
	for range 300 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := c.Get(os.Getenv("EXPLORE_URL"))
				if err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					n.Add(1)
				}
			}
		})
	}
	time.Sleep(time.Second)
	t0 = time.Now()
	st, _ := cebpf.EnableStats(0)
	defer func() { st.Close() }()
	r.Start(t.Context())
	fmt.Println("start", time.Since(t0))
	time.Sleep(5 * time.Second)
	fmt.Println(r.Status(), n.Load())
	t0 = time.Now()
	r.Stop(t.Context())
	fmt.Println("stop", time.Since(t0))
	close(stop)
	wg.Wait()
	os.RemoveAll("/tmp/explore")
	w, _ := bundle.Create("/tmp/explore", bundle.Manifest{})
	t0 = time.Now()
	d, err := r.Write(t.Context(), w)
	fmt.Println("write", time.Since(t0), err)
	fmt.Printf("%+v\n", d)
	for _, s := range r.probes {
		var pr *programs
		switch p := s.probe.(type) {
		case *syscallsProbe:
			pr = &p.programs
		case *schedProbe:
			pr = &p.programs
		case *onCPUProbe:
			pr = &p.programs
		}
		for name, p := range pr.coll.Programs {
			x, _ := p.Stats()
			fmt.Println(name, x.RunCount, x.Runtime, x.Runtime/time.Duration(x.RunCount+1))
		}
	}
}
