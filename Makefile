# What a contributor runs before a commit is "make check". .ci/run does more.

# The one place where the linters' version is said; .ci/golangci-lint reads it.
GOLANGCI_VERSION := v2.15.0

FUZZTIME ?= 30s
DIR ?=

.PHONY: check test race long fuzz lint fmt vet cross build demo clean

check: fmt vet lint race ## gofmt, vet, linters, tests with -race, a short fuzz
	.ci/fuzz 5s

test: ## what the README says
	go test -timeout=30m ./...

race:
	go test -race -timeout=30m ./...

long: ## many more steps of the model tests, 200 kills of a store and of a broker, 1,000 restarts of providers, mass deaths, floods, 1,000 cuts of topics, all tests ten times, minutes of fuzzing
	go test -count=1 -timeout=30m ./business/peer ./business/registry ./business/requestor ./business/router ./business/session ./business/topic ./cmd/trefoil ./concrete/internal/kvtree ./concrete/internal/link -rapid.checks=20000
	TREFOIL_LONG=1 go test -count=1 -timeout=60m -v -run "Kill|Stopped|MassDeath|ProvidersAreBack|Forged|Synced|SlowWatcher|Cut|InDoubt|Replayed|Restart|NoCall|CallsReach|CallsGoOn|Thousands|HalfOpen|SlowInstance|WeightsAreKept|FewKeys|ConformanceElsewhere|ASecondAway|Poison|OfAPeer|Storms|GroupsThat|UnevenSpeed|OfManyStreams" ./concrete/etcdstore ./concrete/jetstream ./cmd/trefoil ./client ./server
	TREFOIL_LONG=1 go test -count=1 -timeout=20m -v -run "BehavesAsEvery" ./concrete/zookeeper ./concrete/etcd ./client
	go test -count=10 -timeout=60m ./...
	.ci/fuzz 3m

fuzz: ## every fuzz target, FUZZTIME each
	.ci/fuzz $(FUZZTIME)

lint:
	.ci/golangci-lint run ./...

fmt: ## fails when a file is not formatted
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "run gofmt -w on:" $$files >&2; exit 1; fi

vet:
	go vet ./...

cross: ## do the other systems build, tests included
	GOOS=windows go vet ./...
	GOOS=darwin go vet ./...

build: ## bin/trefoil
	go build -trimpath -o bin/trefoil ./cmd/trefoil

demo: ## counts the words of DIR (default: the Go tree) on three providers, one of which is killed
	go run ./cmd/trefoil demo $(DIR)

clean: ## keeps the linters in bin/
	rm -f bin/trefoil *.test *.prof *.out
