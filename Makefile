# Every target is one line over a module; ARGS= is passed on, e.g. make train-vae ARGS="model=small seed=1".
PYTHON ?= python3
PY := .venv/bin/python
INSTALLED := .venv/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo schedules release release256 longer real test test-all lint prepare train-vae train-visemes train-identity train-mouth train-sync train-sync_loss train-lipreader \
	train-teacher train-student sweep experiment wandb-sync notebooks evaluate sample talk bench bench-data export publish quality paper readme clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

# Written last, so that an installation cut short is done again; one that is complete already passes in seconds.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: $(PYTHON) is older than Python 3.10: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@echo "installing into .venv: some minutes and about 6 GB the first time"
	$(PY) -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[corpus,sweeps,dev,export]'
	@# All at once: else whoever starts first waits for it, and where nothing may be written everybody does, every time.
	@# A quarter of it are packages' own tests, which nobody imports.
	@$(PY) -m compileall -q -j 0 -x '/tests/' .venv/lib >/dev/null 2>&1 || true
	@touch $@

setup: $(INSTALLED)  ## create .venv and install everything (the other targets do this by themselves)

demo: $(INSTALLED)  ## train the whole chain from nothing and let a held-out face speak: outputs/demo
	$(PY) -m tsd.commands.chain $(ARGS)

schedules: $(INSTALLED)  ## search the strengths of a student's steps on validation clips, into its weights
	$(PY) -m tsd.evaluation.schedules $(ARGS)

release: $(INSTALLED)  ## train the weights that are released, from nothing: outputs/release, three hours and a quarter
	$(PY) -m tsd.commands.chain --config-name release $(ARGS)

longer: $(INSTALLED)  ## the denoisers of a finished release go on, on a GPU: outputs/longer, forty minutes and the report
	$(PY) -m tsd.commands.chain --config-name longer $(ARGS)

release256: $(INSTALLED)  ## a decoder for pictures of 256 x 256 on the released latents: outputs/release256, about an hour and a half
	$(PY) -m tsd.commands.chain --config-name release256 $(ARGS)

real: $(INSTALLED)  ## let the released nets go on with recorded people, an hour: VIDEOS=<a folder per person>
	@test -n "$(VIDEOS)" || { echo "error: make real VIDEOS=<folder of a folder per person, see docs/data.md>"; exit 2; }
	$(PY) -m tsd.commands.chain --config-name real 'videos="$(VIDEOS)"' $(ARGS)

test: $(INSTALLED)  ## all tests but the slow ones, with coverage
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -m "not slow" --timeout 600 --cov --cov-fail-under=85 $(ARGS)

test-all: $(INSTALLED)  ## all tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --cov --cov-fail-under=85 $(ARGS)

lint: $(INSTALLED)  ## ruff: rules and format
	$(PY) -m ruff check . && $(PY) -m ruff format --check .

prepare: $(INSTALLED)  ## a corpus to train on: ARGS="source=folder root=data/mine videos=…"; sources: docs/data.md
	$(PY) -m tsd.commands.prepare $(ARGS)

train-vae: $(INSTALLED)  ## pictures to latents and back; needs prepare
	$(PY) -m tsd.commands.train stage=vae $(ARGS)

train-visemes: $(INSTALLED)  ## speech to mouth shapes; needs prepare
	$(PY) -m tsd.commands.train stage=visemes $(ARGS)

train-identity: $(INSTALLED)  ## an embedder of faces; needs prepare
	$(PY) -m tsd.commands.train stage=identity $(ARGS)

train-mouth: $(INSTALLED)  ## the measure of mouth opening; needs prepare
	$(PY) -m tsd.commands.train stage=mouth $(ARGS)

train-sync: $(INSTALLED)  ## the measure of lips in step with sound; needs prepare
	$(PY) -m tsd.commands.train stage=sync $(ARGS)

train-sync_loss: $(INSTALLED)  ## the same for the term loss.sync, taught by other people; needs prepare
	$(PY) -m tsd.commands.train stage=sync_loss $(ARGS)

train-lipreader: $(INSTALLED)  ## the measure of visemes in mouths; needs prepare
	$(PY) -m tsd.commands.train stage=lipreader $(ARGS)

train-teacher: $(INSTALLED)  ## the many-step denoiser; needs train-vae and train-identity
	$(PY) -m tsd.commands.train stage=teacher $(ARGS)

train-student: $(INSTALLED)  ## the few-step denoiser; needs train-teacher
	$(PY) -m tsd.commands.train stage=student $(ARGS)

sweep: $(INSTALLED)  ## many trainings, a folder each: ARGS="stage=student loss=paper,no_temporal p_mismatch=p00,p50"
	$(PY) -m tsd.commands.train -m $(ARGS)

experiment: $(INSTALLED)  ## the sweep of conf/experiment/<NAME>.yaml, and its table into experiments/<NAME>: NAME=steps
	@test -n "$(NAME)" || { echo "error: make experiment NAME=<one of conf/experiment>"; exit 2; }
	$(PY) experiments/run.py $(NAME) $(ARGS)

wandb-sync: $(INSTALLED)  ## send the runs of logger=wandb to Weights & Biases (needs an account, training does not)
	$(PY) -m tsd.training.upload $(or $(ARGS),outputs)

notebooks: $(INSTALLED)  ## run every notebook from top to bottom
	$(PY) -m pytest -q tests/test_notebooks.py $(ARGS)

evaluate: $(INSTALLED)  ## tables over held-out clips: outputs/metrics/eval_report.json
	$(PY) -m tsd.commands.evaluate $(ARGS)

sample: $(INSTALLED)  ## make a face speak: REF=face.png AUDIO=speech.wav
	@test -n "$(REF)" -a -n "$(AUDIO)" || { echo "error: make sample REF=face.png AUDIO=speech.wav ARGS=..."; exit 2; }
	$(PY) -m tsd.commands.sample 'reference="$(REF)"' 'audio="$(AUDIO)"' $(ARGS)

talk: $(INSTALLED)  ## the same with the weights that the repository carries: REF=photo.jpg AUDIO=voice.wav [WEIGHTS=drawn]
	@test -n "$(REF)" -a -n "$(AUDIO)" || { echo "error: make talk REF=photo.jpg AUDIO=voice.wav"; exit 2; }
	$(PY) -m tsd.commands.sample weights=$(or $(WEIGHTS),people) 'reference="$(REF)"' 'audio="$(AUDIO)"' $(ARGS)

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
