# diskbridge: `make help` lists the targets.
GO        ?= go
TAGS      := grpcnotrace
PKGS      ?= ./...
FUZZTIME  ?= 10s
BIN       := $(CURDIR)/bin
TEST       = DISKBRIDGE_VERSITYGW=$(VERSITYGW) $(GO) test -tags $(TAGS) -race -shuffle=on

BENCH      = $(GO) run -tags $(TAGS) ./tests/bench -bin=$(BIN) -endpoint='$(BENCH_ENDPOINT)' -pid='$(BENCH_PID)' \
               -emulator='$(BENCH_EMULATOR)' -out='$(BENCH_OUT)' -n='$(BENCH_N)'

# Tools are Go modules, pinned here or in tools/go.mod.
GOLANGCI  := $(BIN)/tools/golangci-lint-v2.15.0
HELM      := $(BIN)/tools/helm-$(shell sed -n 's|.*helm.sh/helm/v4 \(v[0-9.]*\).*|\1|p' tools/go.mod)
VERSITYGW := $(BIN)/tools/versitygw-$(shell sed -n 's|.*versity/versitygw \(v[0-9.]*\).*|\1|p' tools/go.mod)
CHART     := deploy/charts/diskbridge

# "1.26.8 ok" or, if that is too old, "1.19.8"; nothing where there is no Go.
GO_FOUND   = $(shell GOTOOLCHAIN=local $(GO) version 2>/dev/null | sed -n 's/^go version go//p' | while read -r v _; do \
               echo $$v; printf '1.26\n%s\n' $$v | sort -V -C && echo ok; done)

.DEFAULT_GOAL := help
.PHONY: help build demo test cover sanity conformance test-nvme test-kernels test-nfs test-cgroups soak lint fmt generate limits-table verify fuzz clean go-version

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

go-version:
	@: $(if $(filter ok,$(lastword $(GO_FOUND))),,$(error Go >= 1.26 is needed, found $(or $(firstword $(GO_FOUND)),none); see https://go.dev/dl))

build: go-version ## build the static binaries into bin/
	@CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -ldflags "-s -w" -o $(BIN)/ ./cmd/...

demo: go-version ## show volumes of EBS, EFS and S3 through their life, on an AWS emulator (as root with real disks)
	@.ci/install demo
	@[ -x $(BIN)/diskbridge-csi ] || echo "building; the first time takes a minute or two"
	@$(MAKE) --no-print-directory build
	@! command -v s3fs >/dev/null || $(MAKE) --no-print-directory $(VERSITYGW)
	@$(BIN)/diskbridge demo

test: go-version $(VERSITYGW) ## run every test, on real file systems where run as root
	@.ci/install test
	@$(MAKE) --no-print-directory build
	@DISKBRIDGE_BIN=$(BIN) $(TEST) $(PKGS)

sanity: go-version $(VERSITYGW) ## run csi-sanity against the real driver and the emulator
	@.ci/install test
	@$(GO) test -v ./tests/sanity/...

conformance: go-version $(VERSITYGW) ## compare the emulator with moto, an emulation of AWS by others (as root)
	@.ci/install conformance
	@$(GO) run -tags $(TAGS) ./tests/conformance -s3-server=$(VERSITYGW)

test-nvme: go-version ## run the node half on real NVMe disks in a virtual machine
	@.ci/install nvme
	@$(GO) run -tags $(TAGS) ./tests/nvme

test-kernels: go-version ## run the node half's disk tests on Linux 6.1 with all capabilities, in User Mode Linux
	@.ci/install kernels
	@$(GO) run -tags $(TAGS) ./tests/kernels

test-nfs: go-version ## run the node half on real NFSv4.1 mounts, in User Mode Linux
	@.ci/install nfs
	@$(GO) run -tags $(TAGS) ./tests/nfs

test-cgroups: go-version $(VERSITYGW) ## run the mounter under control groups of version 2, in User Mode Linux
	@.ci/install cgroups
	@$(GO) run -tags $(TAGS) ./tests/cgroups -s3-server=$(VERSITYGW)

cover: go-version $(VERSITYGW) ## run the tests and write coverage.out
	@.ci/install test
	@$(TEST) -coverprofile=coverage.out $(PKGS)
	@$(GO) tool cover -func=coverage.out | tail -1

fuzz: go-version ## run every fuzz target for FUZZTIME (10s) each
	@.ci/fuzz $(FUZZTIME)

soak: go-version $(VERSITYGW) ## kill, replay, walk and churn at random for some minutes, with eventual consistency
	@.ci/install test
	@$(MAKE) --no-print-directory build
	@DISKBRIDGE_BIN=$(BIN) DISKBRIDGE_SOAK=1 $(TEST) -count=1 -timeout=15m ./tests/replay ./tests/walk
	@DISKBRIDGE_BIN=$(BIN) DISKBRIDGE_SOAK=1 $(TEST) -count=1 -timeout=15m -parallel=6 -run=TestReplay ./tests/bosh
	@DISKBRIDGE_BIN=$(BIN) DISKBRIDGE_SOAK=1 $(TEST) -count=1 -timeout=8m ./tests/churn

# Kubernetes, its images and the programs that run it, from a module of their own.
E2E := cd tests/e2e && CGO_ENABLED=0 $(GO)
.PHONY: e2e e2e-external cluster-up cluster-down image e2e-ready
e2e-ready: build versitygw $(HELM) ## build Kubernetes, once, and the images for e2e and cluster-up
	@.ci/install e2e
	@tests/e2e/build
	@$(E2E) build -trimpath -o $(BIN)/e2e/ ./cmd/cluster
	@$(BIN)/e2e/cluster image >/dev/null
	@$(BIN)/e2e/cluster images

e2e: e2e-ready ## run the stories of E2E_FOCUS=REGEXP, all by default, in a real Kubernetes (as root)
	@$(E2E) test -trimpath -count=1 -timeout=25m -p 1 -parallel 12 -v ./stories ./laptop ./tutorial -run '$(E2E_FOCUS)'

.PHONY: test-controlplane
test-controlplane: build ## run the real sidecars and control plane against the controller, on an AWS that refuses, fails and is late
	@tests/e2e/build
	@$(E2E) test -trimpath -count=1 -timeout=12m -parallel 40 -v ./controlplane

e2e-external: e2e-ready ## run Kubernetes' whole External Storage suite, and write its results into docs/reference (as root; 15 minutes)
	@$(BIN)/e2e/cluster external

cluster-up: e2e-ready ## start a real Kubernetes with the driver and an emulated AWS, to play with (as root)
	@$(BIN)/e2e/cluster up

cluster-down: ## end what cluster-up started
	@$(BIN)/e2e/cluster down

image: build versitygw ## make the driver's images in bin/images, without a container engine
	@.ci/install e2e
	@$(E2E) build -trimpath -o $(BIN)/e2e/ ./cmd/cluster
	@$(BIN)/e2e/cluster image

lint: go-version $(GOLANGCI) ## check style, imports and the Dockerfile
	@$(GOLANGCI) run
	@cd tests/e2e && $(GOLANGCI) run ./cluster ./cmd/... ./controlplane ./image ./install ./laptop ./pause ./stories ./suite ./tutorial # the others compile all of Kubernetes
	@$(GO) test ./tests/deps -run 'TestImports|TestDockerfile'

.PHONY: bench bench-throttled
bench: go-version ## measure the driver, or another with BENCH_ENDPOINT= BENCH_PID= BENCH_EMULATOR=, into BENCH_OUT= (5 minutes)
	@$(MAKE) --no-print-directory build
	@$(BENCH) $(if $(BENCH_ENDPOINT),,-docs=docs/benchmarks)

bench-throttled: go-version ## measure the driver under AWS's default throttles, with BENCH_N= volumes (500: 6 minutes)
	@$(MAKE) --no-print-directory build
	@$(BENCH) -throttled $(if $(BENCH_ENDPOINT)$(BENCH_N),,-docs=docs/benchmarks)

.PHONY: bench-cpi bosh-release
bench-cpi: go-version ## measure diskbridge-cpi from the start of its process to its end
	@$(MAKE) --no-print-directory build
	@DISKBRIDGE_BIN=$(BIN) $(GO) test -tags $(TAGS) -run '^$$' -bench . ./tests/bosh

bosh-release: build ## put the binary into deploy/bosh, for `bosh create-release`
	@cp $(BIN)/diskbridge-cpi deploy/bosh/src/diskbridge-cpi/

fmt: go-version $(GOLANGCI) ## format the code
	@$(GOLANGCI) fmt

generate: go-version ## write docs/reference from the declarations in the code
	@$(GO) test -tags $(TAGS) ./tests/docs -update

limits-table: go-version ## write pkg/limits/table.txt from DUMP=FILE.json.gz, an answer of DescribeInstanceTypes
	@$(GO) run ./tests/limitstable "$(DUMP)" pkg/limits/table.txt

.PHONY: chart
chart: go-version $(HELM) ## write deploy/kubernetes from the Helm chart, and test the chart
	@cp deploy/prometheus/alerts.yaml $(CHART)/files/
	@$(HELM) template diskbridge $(CHART) --namespace kube-system | grep -v 'helm.sh/chart:\|managed-by: Helm' >deploy/kubernetes/diskbridge.yaml
	@DISKBRIDGE_HELM=$(HELM) $(GO) test -tags $(TAGS),chart ./tests/chart

verify: generate chart lint ## fail if anything generated is out of date, then lint
	@git diff --exit-code --stat -- docs/reference deploy

clean: ## remove what was built
	@rm -rf $(BIN) coverage.out

$(GOLANGCI):
	@echo "building golangci-lint $(lastword $(subst -, ,$@)) (once)" >&2
	@mkdir -p $(@D)/new
	@GOBIN=$(@D)/new $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(lastword $(subst -, ,$@))
	@mv $(@D)/new/golangci-lint $@ && rmdir $(@D)/new

$(HELM):
	@echo "building $(@F) (once)" >&2
	@mkdir -p $(@D)
	@CGO_ENABLED=0 $(GO) build -C tools -trimpath -ldflags "-s -w" -o $@ helm.sh/helm/v4/cmd/helm

$(VERSITYGW):
	@echo "building $(@F), the S3 server behind the emulator (once)" >&2
	@mkdir -p $(@D)
	@CGO_ENABLED=0 $(GO) build -C tools -trimpath -ldflags "-s -w" -o $@ github.com/versity/versitygw/cmd/versitygw

.PHONY: versitygw
versitygw: $(VERSITYGW) ## build the S3 server behind the emulator into bin/
	@cp --preserve=timestamps $(VERSITYGW) $(BIN)/versitygw
