// Command stacks runs and waits in code of every kind that is hard to name:
// inlined many deep, generic, in closures in closures, deferred, ranging over
// functions, and far down in the standard library. It prints "ready", works at
// the first line it reads, prints "answer 0", and ends at the next.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

func main() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	wait(in)
	var wg sync.WaitGroup
	for _, work := range []func(){numbers, texts, trees[string], trees[float64], waits, collect} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
				work()
			}
		}()
	}
	wg.Wait()
	fmt.Println("answer 0")
	wait(in)
}

func wait(in *bufio.Reader) {
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(0)
	}
}

var sink any

// Four functions deep, all small enough to be inlined.
func mix(a uint64) uint64   { return turn(a) ^ turn(a+1) }
func turn(a uint64) uint64  { return shift(a)*31 + shift(a>>7) }
func shift(a uint64) uint64 { return fold(a) << 3 }
func fold(a uint64) uint64  { return a&0xff*a>>8 + a }

func numbers() {
	var sum uint64
	each := func(n uint64) func() uint64 {
		return func() uint64 {
			defer func() { sum++ }()
			inner := func() uint64 { return mix(n) + mix(n*3) }
			return inner()
		}
	}
	for n := range uint64(20_000) {
		sum += each(n)()
	}
	list := make([]uint64, 5_000)
	for i := range list {
		list[i] = mix(uint64(i) + sum)
	}
	slices.SortFunc(list, func(a, b uint64) int { return cmp.Compare(mix(a), mix(b)) })
	sort.Slice(list, func(i, j int) bool { return list[i]%97 < list[j]%97 })
	sink = list
}

var words = regexp.MustCompile(`(\w+)\s+(\w+)`)

func texts() {
	var b strings.Builder
	for n := range 200 {
		fmt.Fprintf(&b, "word%d other %v %q\n", n, float64(n)/3, "text")
	}
	text := words.ReplaceAllString(b.String(), "$2 $1")
	data, err := json.Marshal(map[string]any{"text": text, "list": strings.Fields(text)})
	must(err)
	var back map[string]any
	must(json.Unmarshal(data, &back))
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	must(err)
	_, err = w.Write(data)
	must(err)
	must(w.Close())
	plain, err := io.ReadAll(flate.NewReader(&packed))
	must(err)
	sink = sha256.Sum256(plain)
}

// A tree is generic, and walked by an iterator that calls itself.
type tree[K cmp.Ordered] struct {
	key         K
	left, right *tree[K]
}

func (t *tree[K]) put(key K) *tree[K] {
	switch {
	case t == nil:
		return &tree[K]{key: key}
	case key < t.key:
		t.left = t.left.put(key)
	default:
		t.right = t.right.put(key)
	}
	return t
}

func (t *tree[K]) all() iter.Seq[K] {
	return func(yield func(K) bool) { t.push(yield) }
}

func (t *tree[K]) push(yield func(K) bool) bool {
	return t == nil || t.left.push(yield) && yield(t.key) && t.right.push(yield)
}

func trees[K cmp.Ordered]() {
	var root *tree[K]
	for range 3_000 {
		root = root.put(random[K]())
	}
	seen := map[K]int{}
	for key := range root.all() {
		seen[key]++
	}
	sink = seen
}

func random[K cmp.Ordered]() K {
	var k K
	switch p := any(&k).(type) {
	case *string:
		*p = fmt.Sprint(rand.IntN(1e6))
	case *float64:
		*p = rand.Float64()
	}
	return k
}

// waits waits in each of the ways there are.
func waits() {
	var mu sync.Mutex
	var rw sync.RWMutex
	c := sync.NewCond(&mu)
	ready := false
	ch := make(chan int)
	go func() {
		mu.Lock()
		time.Sleep(time.Millisecond)
		ready = true
		c.Broadcast()
		mu.Unlock()
		rw.Lock()
		defer rw.Unlock()
		ch <- 1
	}()
	mu.Lock()
	for !ready {
		c.Wait()
	}
	mu.Unlock()
	select {
	case <-ch:
	case <-time.After(time.Second):
	}
	rw.RLock()
	rw.RUnlock()
	r, w, err := os.Pipe()
	must(err)
	go func() {
		time.Sleep(time.Millisecond)
		_, err := w.Write([]byte("x"))
		must(err)
		must(w.Close())
	}()
	_, err = io.ReadAll(r)
	must(err)
	must(r.Close())
	f, err := os.CreateTemp("", "stacks")
	must(err)
	_, err = f.WriteString("text")
	must(err)
	must(f.Sync())
	must(f.Close())
	must(os.Remove(f.Name()))
}

func collect() {
	sink = make([]*tree[string], 10_000)
	runtime.GC()
	time.Sleep(5 * time.Millisecond)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
