# Every target is one line over a module; ARGS= is passed on, e.g. make train-vae ARGS="model=small seed=1".
PYTHON ?= python3
PY := .venv/bin/python
INSTALLED := .venv/.installed
TALKS := .venv/.talks
export PIP_DISABLE_PIP_VERSION_CHECK = 1
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
STAGES := $(patsubst conf/stage/%.yaml,%,$(wildcard conf/stage/*.yaml))
CHAINS := $(patsubst conf/chain/%.yaml,%,$(wildcard conf/chain/*.yaml))
.PHONY: help setup demo release chain schedules test test-all lint prepare sweep experiment wandb-sync notebooks evaluate sample talk page site verify bench bench-data \
	export publish quality paper readme clean
# Programs read what a user types here from the environment: neither make nor a shell takes it for code.
$(foreach name,REF AUDIO VIDEO VIDEOS NAME WEIGHTS CONSENT,$(eval override export $(name) := $$(value $(name))))

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z%_-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

# Written last, so that an installation cut short is done again; one that is complete already passes in seconds.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: $(PYTHON) is older than Python 3.10: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@echo "installing into .venv: some minutes and about 6 GB the first time"
	$(PY) -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[train,corpus,sweeps,dev,export,page]'
	@# All at once: else whoever starts first waits for it, and where nothing may be written everybody does, every time.
	@# A quarter of it are packages' own tests, which nobody imports.
	@$(PY) -m compileall -q -j 0 -x '/tests/' .venv/lib >/dev/null 2>&1 || true
	@touch $@ $(TALKS)

# Talking takes a tenth of that. Who installs the rest later loses nothing.
$(TALKS): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: $(PYTHON) is older than Python 3.10: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@echo "installing what talking takes into .venv"
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[talk]'
	@touch $@

# Weights with graphs beside them speak without PyTorch, so no more is installed for them.
SPEAKS := $(if $(wildcard weights/$(or $(WEIGHTS),people)/graphs/card.json),$(TALKS),$(INSTALLED))

setup: $(if $(filter talk,$(EXTRA)),$(TALKS),$(INSTALLED))  ## create .venv and install everything, or with EXTRA=talk what talking takes (the other targets do this by themselves)

demo: $(INSTALLED)  ## train the whole chain from nothing and let a held-out face speak: outputs/demo
	$(PY) -m tsd.commands.chain $(ARGS)

release: $(INSTALLED)  ## train the weights that are released, from nothing: outputs/release, three hours and a quarter
	$(PY) -m tsd.commands.chain --config-name chain/release $(ARGS)

chain: $(INSTALLED)  ## a recipe of conf/chain: NAME=longer|release256, or NAME=real|recogniser|window VIDEOS=<folder>
	@test -f "conf/chain/$$NAME.yaml" || { echo "error: make chain NAME=<one of $(CHAINS)>"; exit 2; }
	$(PY) -m tsd.commands.chain --config-name "chain/$$NAME" $(if $(VIDEOS),'videos=$${oc.env:VIDEOS}') $(ARGS)

schedules: $(INSTALLED)  ## search the strengths of a student's steps on validation clips, into its weights
	$(PY) -m tsd.commands.schedules $(ARGS)

test: $(INSTALLED)  ## all tests but the slow ones
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -m "not slow" --timeout 600 $(ARGS)

test-all: $(INSTALLED)  ## all tests, with coverage
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --cov --cov-fail-under=85 $(ARGS)

lint: $(INSTALLED)  ## ruff: rules and format
	$(PY) -m ruff check . && $(PY) -m ruff format --check .

prepare: $(INSTALLED)  ## a corpus to train on: ARGS="source=folder root=data/mine videos=…"; sources: docs/data.md
	$(PY) -m tsd.commands.prepare $(ARGS)

train-%: $(INSTALLED)  ## one stage of conf/stage, such as train-vae; needs prepare, teacher and student need vae and identity
	$(if $(filter-out $(STAGES),$*),$(error no stage is called $*: make train-<one of $(STAGES)>))$(PY) -m tsd.commands.train stage=$* $(ARGS)

sweep: $(INSTALLED)  ## many trainings, a folder each: ARGS="stage=student loss=paper,no_temporal p_mismatch=p00,p50"
	$(PY) -m tsd.commands.train -m $(ARGS)

experiment: $(INSTALLED)  ## the sweep of conf/experiment/<NAME>.yaml, and its table into experiments/<NAME>: NAME=steps
	$(PY) experiments/run.py "$$NAME" $(ARGS)

wandb-sync: $(INSTALLED)  ## send the runs of logger=wandb to Weights & Biases (needs an account, training does not)
	$(PY) -m tsd.training.upload $(or $(ARGS),outputs)

notebooks: $(INSTALLED)  ## run every notebook from top to bottom
	$(PY) -m pytest -q tests/test_notebooks.py $(ARGS)

evaluate: $(INSTALLED)  ## tables over held-out clips: outputs/metrics/eval_report.json
	$(PY) -m tsd.commands.evaluate $(ARGS)

sample: $(INSTALLED)  ## make a face speak: REF=face.png AUDIO=speech.wav
	@test -n "$$REF" && test -n "$$AUDIO" || { echo "error: make sample REF=face.png AUDIO=speech.wav ARGS=..."; exit 2; }
	$(PY) -m tsd.commands.sample 'reference=$${oc.env:REF}' 'audio=$${oc.env:AUDIO}' $(ARGS)

talk: $(SPEAKS)  ## the same with the weights that the repository carries: REF=photo.jpg AUDIO=voice.wav [WEIGHTS=drawn] [CONSENT='She agreed.']
	@test -n "$$REF" && test -n "$$AUDIO" || { echo "error: make talk REF=photo.jpg AUDIO=voice.wav"; exit 2; }
	$(PY) -m tsd.commands.sample "weights=$${WEIGHTS:-people}" 'reference=$${oc.env:REF}' 'audio=$${oc.env:AUDIO}' 'consent=$${oc.env:CONSENT,null}' $(ARGS)

page: $(INSTALLED)  ## a page for the browser in which a photograph speaks, computed here: ARGS="weights=people port=7860"
	$(PY) -m tsd.commands.page $(ARGS)

site: $(SPEAKS)  ## static files that do the same in the browser by itself: outputs/site (needs npm) [WEIGHTS=drawn]
	$(PY) -m tsd.commands.site "weights=$${WEIGHTS:-people}" $(ARGS)

verify: $(TALKS)  ## say where a video or picture comes from, by its manifest and its mark: VIDEO=sample.mp4
	@test -n "$$VIDEO" || { echo "error: make verify VIDEO=sample.mp4"; exit 2; }
	$(PY) -m tsd.commands.verify "$$VIDEO"

bench: $(INSTALLED)  ## what a trained chain costs, counted and timed: outputs/bench
	$(PY) -m tsd.commands.bench $(ARGS)

bench-data: $(INSTALLED)  ## decoders side by side, windows and training steps by where they are read from: outputs/bench
	$(PY) -m tsd.commands.bench_data $(ARGS)

export: $(INSTALLED)  ## a trained chain as ONNX, int8 and a card, for applications: outputs/export
	$(PY) -m tsd.commands.export $(ARGS)

publish: $(INSTALLED)  ## the weights that the repository carries, from a finished `make release`: weights
	$(PY) -m tsd.commands.publish $(ARGS)

quality: $(INSTALLED)  ## what a finished `make release` reaches, beside what was asked: experiments/quality
	$(PY) experiments/quality/quality.py $(ARGS)

paper: $(INSTALLED)  ## the paper's tables and Figure 4 from the demo's weights: experiments/paper
	$(PY) experiments/paper/paper.py $(ARGS)

readme: $(INSTALLED)  ## copy a finished demo into experiments/demo and its numbers into the README
	$(PY) experiments/publish.py $(ARGS)

clean:  ## remove .venv and caches; data and outputs stay
	rm -rf .venv .coverage .pytest_cache .ruff_cache *.egg-info
	find tsd tests -name __pycache__ -type d -prune -exec rm -rf {} +
