# Postern. `make help` says what there is.

STATE     ?= .run
FUZZTIME  ?= 60s
SOAKFUZZ  ?= 10m
TESTFLAGS ?=
VMCUTS    ?= 20
PICTURES   = $(abspath $(STATE))/pictures

# The race detector needs a C compiler; without one the tests run all the same, and say so.
RACE := $(shell command -v gcc >/dev/null 2>&1 && echo -race)
UNIT  = $$(go list ./... | grep -v /tools/interop)

help: ## this list
	@sed -n 's/^\([a-z-]*\): .*## /\1	/p' Makefile

run: ## build postern and serve a demonstration folder; needs only Go. Ctrl-C stops
	@mkdir -p $(STATE)
	go build -o $(STATE)/postern ./firmware
	@exec $(STATE)/postern -state $(STATE) -demo

check: ## the fast part of the tests: format, vet, staticcheck, who imports whom
	@out=$$(go tool gofumpt -l .); test -z "$$out" || { echo "not formatted, see go tool gofumpt -d:" $$out; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go test -count=1 ./tools/arrows

test: check ## everything: unit tests with the race detector, foreign clients against a running postern, virtual machines
	@test -n "$(RACE)" || echo "No gcc: the tests run without the race detector."
	go test $(RACE) -timeout 10m $(TESTFLAGS) $(UNIT)
	@rm -rf $(PICTURES); echo "Pictures of the page and the panel are kept in $(PICTURES)"
	POSTERN_PICTURES=$(PICTURES) go test -count=1 -timeout 25m $(TESTFLAGS) ./tools/interop/...
	go test -count=1 -timeout 10m $(TESTFLAGS) ./tools/mkimage/mkimage -run '^TestImage$$' -image -quick -board qemu
	POSTERN_PICTURES=$(PICTURES) go test -count=1 -timeout 15m -run '^TestBoxBriefly$$' $(TESTFLAGS) ./tools/interop/page -vm
	go test -count=1 -timeout 40m -parallel 2 $(TESTFLAGS) ./tools/vm/vm -vm -cuts $(VMCUTS)

conformance: ## all of Samba's smbtorture over both transports, beside what smbd passes; as root, ten minutes
	go test ./tools/interop -run '^TestSmbtorture$$' -conformance -v -count=1 -parallel 6 -timeout 90m

race: ## the foreign clients against a server with the race detector, which ends at the first race; needs gcc
	@mkdir -p $(STATE)
	go build -race -o $(STATE)/postern.race ./firmware
	GORACE=halt_on_error=1 POSTERN_BINARY=$(abspath $(STATE))/postern.race \
		go test -count=1 -timeout 90m $(TESTFLAGS) ./tools/interop/...

fuzz: ## every fuzz target for FUZZTIME each
	@grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		for f in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$dir/*_test.go); do \
			echo "== $$dir $$f"; \
			go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$dir </dev/null || exit 1; \
		done; \
	done

soak: ## the tests of endurance and scale at full length, and every fuzz target for SOAKFUZZ: a night
	go test $(RACE) -count=1 -timeout 2h -v -run 'Soak|SEC35' ./smb -soak
	go test -count=1 -timeout 1h -v -run 'SEC54Traffic' ./firmware/keys -soak
	go test -count=1 -timeout 1h -v -run 'SEC47' ./firmware -soak
	go test -count=1 -timeout 4h -v -run 'TestGoManyClients|TestProgram|TestSoak|TestGuessing' ./tools/interop -soak
	@test -z "$(RACE)" || $(MAKE) race
	go test -count=1 -timeout 2h -v -run '^TestImage$$' ./tools/mkimage/mkimage -image -board all
	go test -count=1 -timeout 1h -v -run '^TestImageRepro$$' ./tools/mkimage/mkimage -image -board rpi
	go test -count=1 -timeout 6h -parallel 2 -v ./tools/vm/vm -vm -soak
	POSTERN_PICTURES=$(PICTURES) go test -count=1 -timeout 1h -v -run '^TestBox$$' ./tools/interop/page -vm
	$(MAKE) fuzz FUZZTIME=$(SOAKFUZZ)

BOARD ?= qemu

FLAVOUR ?= release

# LIKE=postern-BOARD.json builds what somebody has published with it, and says whether it is the same.
LIKE ?=

image: ## a disk image for BOARD (qemu uefi rpi helios64 odroid-hc4 cm3588 rock5 rockpro64) into .run; FLAVOUR=debug has a shell
	@mkdir -p $(STATE)
	go run ./tools/mkimage -board $(BOARD) -out $(STATE) -compress -flavour $(FLAVOUR) $(if $(LIKE),-like $(abspath $(LIKE)))

image-test: ## build BOARD's image and look at it: partitions, files, licences, bill of materials, no shell; more of it as root
	go test -count=1 -timeout 30m ./tools/mkimage/mkimage -run '^(TestImage|TestWiring)$$' -v -image -board $(BOARD)

image-repro: ## build BOARD's image twice, the second time as a stranger with the published keys: the same bytes
	go test -count=1 -timeout 30m ./tools/mkimage/mkimage -run '^TestImageRepro$$' -v -image -board $(BOARD)

refresh-lock: ## pin the packages that images are made of as Debian's archive has them today
	go run ./tools/mkimage -refresh-lock

bundle: ## the update to BOARD's image, signed with your own keys (made in your configuration folder), into .run
	@mkdir -p $(STATE)
	go run ./tools/mkimage -board $(BOARD) -out $(STATE) -bundle

vm: ## boot the image in QEMU and serve from it; needs qemu-system-arm, qemu-efi-aarch64 and swtpm. Ctrl-C switches off
	go run ./tools/vm -out $(STATE)/vm

vmtest: ## the part of the tests that boots virtual machines, alone: serve, update, fail and come back, power cuts, U-Boot
	go test -count=1 -timeout 40m -parallel 2 -v $(TESTFLAGS) ./tools/vm/vm -vm -cuts $(VMCUTS)

bench: ## Postern beside Samba, WireGuard and bare QUIC, as ratios, and what is asked, kept in tools/bench/results; as root
	go run ./tools/bench -o "$$(date +%F)-$$(uname -n)"

bench-quick: ## the same with small sizes and one round
	go run ./tools/bench -quick

pictures: ## the README's pictures of panel and page, made anew
	@rm -rf $(PICTURES)
	POSTERN_PICTURES=$(PICTURES) go test -count=1 -run '^(TestOwner|TestPanel)$$/^desktop$$' ./tools/interop/page
	cp $(PICTURES)/TestPanel/readme.png ui/pictures/panel.png
	cp $(PICTURES)/TestOwner/desktop/*-readme.png ui/pictures/page.png

peers: ## build the foreign clients and servers that tests and benchmarks talk to; as root
	go run ./tools/peers

.PHONY: help run check test conformance race soak fuzz image image-test image-repro refresh-lock bundle vm vmtest bench bench-quick pictures peers
