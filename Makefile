# Every recipe is one line; what needs thought is Python under .ci/.
# Any Python from 3.11 on will do; 3.12 and 3.11 come first, because LevelDB's bindings ship wheels for them.
PYTHON ?= $(shell sh .ci/find-python)
RUN := .venv/bin
CHAOS_SECONDS ?= 300
NODES ?= 4

.PHONY: setup fmt check test proto frozen-proofs lock wheel-test demo up down sim scenarios mutants model chaos faults power-cuts decay fuzz-vm fuzz-front bench figures chart-test docker-test ci clean

setup: ## make .venv, or bring it up to date with pyproject.toml and the lock file
	@$(or $(PYTHON),false) .ci/setup.py

fmt: setup ## format, and apply the fixes that are safe
	$(RUN)/ruff format . && $(RUN)/ruff check --fix-only .

check: setup ## format, lint, types, layers, generated code, layout and sizes
	$(RUN)/python .ci/check.py

test: setup ## every test but those of `make check` and of the engines, some ten minutes on two quiet cores, and at most forty-five
	$(RUN)/pytest -n 3 --dist worksteal --session-timeout=2700 --ignore=tests/architecture --ignore=tests/docker --ignore=tests/helm

chart-test: setup ## render the Helm chart with helm and check it against Kubernetes' schemas; says so where they cannot be had
	$(RUN)/python .ci/chart_tests.py

docker-test: setup ## build the image and break a consortium of containers on a real engine; says so where there is none
	$(RUN)/python .ci/docker_tests.py

scenarios: setup ## replay the stories of tests/scenario; REWRITE=1 redraws their outcomes
	$(RUN)/python -m tanpo.testing.scenario $(if $(REWRITE),--rewrite) tests/scenario

chaos: setup ## break a real network of NODES=4|7 for CHAOS_SECONDS= from SEED=, check what is left, print JSON
	$(RUN)/python -m tanpo.testing.chaos --faulty-node tests/chaos/faulty_node.py --seconds $(CHAOS_SECONDS) --nodes $(NODES) $(if $(SEED),--seed $(SEED))

faults: setup ## let EACH= calls of every kind that writes to disk fail, each in a run of its own, and print JSON; needs gcc
	$(RUN)/python -m tanpo.testing.disk_faults tests/faults --each $(or $(EACH),3)

power-cuts: setup ## cut the power CUTS= times while a node writes, from SEED= if given, check what may be left, and print JSON; needs gcc
	$(RUN)/python -m tanpo.testing.power_cuts tests/faults --cuts $(or $(CUTS),60) $(if $(SEED),--seed $(SEED))

decay: setup ## flip FLIPS= bits and cut CUTS= tails in files of every kind, from SEED= if given, and print JSON
	$(RUN)/python -m tanpo.testing.decay --flips $(or $(FLIPS),2000) --truncations $(or $(CUTS),500) $(if $(SEED),--seed $(SEED))

fuzz-vm: setup ## run PROGRAMS random contracts from seed FIRST= on both engines and on CPython; INTERPRETERS=1 on every Python found
	$(RUN)/python -m tanpo.testing.programs --programs $(or $(PROGRAMS),20000) --first $(or $(FIRST),0) --jobs $(or $(JOBS),2) $(if $(INTERPRETERS),--interpreters)

proto: setup ## generate the Python code of proto/ again
	$(RUN)/python .ci/generate_protos.py

frozen-proofs: setup ## write the frozen proof files of tests/conformance/proofs again, after a change of what they hold
	$(RUN)/python -m tanpo.testing.frozen_proofs tests/conformance/proofs

lock: setup ## write the versions now in .venv to the lock file
	$(RUN)/python .ci/lock.py

wheel-test: setup ## build the wheel, install it elsewhere and test it from an empty folder
	$(RUN)/python .ci/wheel_test.py

demo: setup ## four institutions swap and pledge on a network of processes that loses its leader
	$(RUN)/tanpo demo

up: setup ## start a local network of four members
	$(RUN)/tanpo net up

down: setup ## stop it
	$(RUN)/tanpo net down

sim: setup ## simulate SEEDS networks from FIRST on; with SEED= one of them, STEPS= so far; with TWINS=4 or 7 SCENARIOS of the Twins test
	$(RUN)/tanpo sim $(if $(TWINS),--twins --nodes $(TWINS)) $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SCENARIOS),--scenarios $(SCENARIOS)) $(if $(FIRST),--first $(FIRST))

mutants: setup ## switch off one rule after the other, and see whether the simulator notices within SEEDS seeds
	$(RUN)/python tests/mutants/run.py $(if $(SEEDS),--seeds $(SEEDS)) $(if $(ONLY),--only "$(ONLY)")

fuzz-front: setup ## feed the contract checker hostile text for SECONDS=, from SEED= if given, and print JSON
	$(RUN)/python -m tanpo.testing.front tests/attacks --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

bench: setup ## measure swaps a second and latency, as JSON
	$(RUN)/tanpo bench

figures: setup ## measure WHAT=containers|gas|deploy|vm|attacks|contracts|worker|reads|tree|lifting|proofs|snapshot|retention|replay|growth with what bench/ holds, as JSON
	$(RUN)/python bench/$(or $(WHAT),gas).py

model: setup ## explore small instances of the protocol whole, and without each rule; needs spin and gcc
	$(RUN)/python -m model.run

ci: check test ## exactly what CI runs; what comes last waits for containers and packages as much as it works
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target docker-test wheel-test chart-test

clean: ## remove everything that can be made again
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
