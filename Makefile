# The everyday commands. `go run .` and `go test ./...` need none of them.
TOOL = go tool -modfile=.ci/tools/go.mod
FUZZTIME = 60s

.PHONY: test race race-full kill faults fuzz bench compare lint vuln shots repaint cost
test:
	go test ./...
race: # without what takes minutes under the detector
	CGO_ENABLED=1 go test -race -short ./...
race-full: # with it: hours on two cores
	CGO_ENABLED=1 go test -race -timeout 4h -p 1 ./...
kill: # kill -9 in the middle of saving, a hundred times, with a table of thirty
	KILL_TEST_CYCLES=100 KILL_TEST_CONTACTS=30 go test -v -count=1 -timeout 20m -run TestKilledWhileSaving ./engine/cli
faults: # the faults that are tried in small elsewhere, in full
	FAULTS=full go test -v -count=1 -run 'TestSlowStreamsHoldUpNobody' ./engine
	FAULTS=full go test -v -count=1 -run 'TestSlowStreamsCostLittle' ./engine/cli
	FAULTS=full CGO_ENABLED=1 go test -v -race -count=1 -run TestJoinAgainstLastLeave ./relay
	go test -v -count=1 -run TestReconnectAThousandTimes ./relay/call
fuzz:
	for p in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
	  for f in $$(go test -list '^Fuzz' "./$$p" | grep '^Fuzz'); do \
	    go test "./$$p" -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) || exit 1; \
	  done; done
compare: # the routing table against its rivals, in turn
	cd dht/table/kbucketbench && go test -run '^$$' -bench . -benchtime 15x
bench:
	mkdir -p bench-results
	f=bench-results/$$(git rev-parse --short HEAD).txt; (go version; git rev-parse HEAD; go test -run '^$$' -bench . -benchmem ./relay ./dht/table ./engine/dispatch) >$$f; ended=$$?; cat $$f; exit $$ended
lint:
	@bad=$$($(TOOL) gofumpt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "not formatted: $$bad"; exit 1; }
	go fix -diff ./...
	$(TOOL) checklocks -test=false -inferred=false ./...
	$(TOOL) golangci-lint run ./...
	$(TOOL) deadcode -test ./...
vuln: # known vulnerabilities; asks vuln.go.dev
	$(TOOL) govulncheck ./...
shots:
	go run ./tui/shot/cmd/signalbox-shots
repaint: # the same pictures by the console of today, from what theirs was told
	go run ./tui/shot/cmd/signalbox-shots -repaint
cost: # what a console costs: bytes a second and CPU
	go run ./tui/shot/cmd/signalbox-cost
