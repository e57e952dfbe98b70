# Everything a person needs after a clone. Go 1.26 and make are enough; eBPF
# takes root, and what a machine lacks `make doctor` says.

GO ?= go
FUZZ_TIME ?= 10s

.PHONY: build demo test quick check fuzz crash wild bench-load soak-load doctor fixtures clean

build: ## the command, as bin/chokepoint
	$(GO) build -o bin/chokepoint .

demo: build ## a flawed server and its healthy twin at 10,000 requests in flight
	bin/chokepoint run scenarios/lock-contention-sleep.yaml --variant both --in-flight 10000

# One package after another: some of them hold a server under load, and a twin
# that shares its CPUs with a compiler looks sick.
test: ## vet and all tests, the live ones included: about four minutes
	$(GO) vet ./...
	$(GO) test -p 1 ./...

quick: ## the tests that start no server under load
	$(GO) test -short ./...

check: ## what CI demands beside the tests
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard -- '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not as gofmt writes it: $$unformatted; mend: gofmt -w" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

fuzz: ## each fuzz test for FUZZ_TIME
	scripts/fuzz $(FUZZ_TIME)

crash: ## every probe against programs that grow, fork, exec and die, for each Go and build: about ten minutes, as root
	$(GO) test -count=1 -timeout 40m -v -run 'TestCrash|TestKilled|TestCounts' ./harness/capture/ebpf -crash=all

wild: ## servers and library bugs of other people, from the module proxy; WILD='--repeat 3' passes flags
	scripts/wild $(WILD)

bench-load: ## what load generators cost at 10,000 connections; BENCH='-install -rounds 3' passes flags
	$(GO) run ./scripts/bench-load $(BENCH)

soak-load: ## fifty runs back to back at 10,000 in flight, and what they leave: about seven minutes; SOAK='-runs 5' passes flags
	$(GO) run ./scripts/soak-load $(SOAK)

doctor: build ## what this machine can capture, and what it lacks
	bin/chokepoint doctor

fixtures: ## record the bundles that tests use anew, as root
	scripts/record-fixtures

clean: ## what was built; recordings in runs/ stay
	rm -rf bin
