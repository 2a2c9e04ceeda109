# Thin names for `python3 bootstrap.py …`, which does the work and also runs where there is no make.
PYTHON ?= python3
ARGS ?=

.PHONY: run test coverage check bench soak shots agent clean-demo

# HOST counts only from the command line: some shells export a variable of that name.
ifeq ($(origin HOST),command line)
RUN_ARGS := --host "$(HOST)"
endif

run:
	@"$(PYTHON)" bootstrap.py run $(RUN_ARGS)

test:
	@"$(PYTHON)" bootstrap.py test $(ARGS)

# of the rules: what the tests near them take, 95 % of each part at least
coverage:
	@"$(PYTHON)" bootstrap.py coverage $(ARGS)

check:
	@"$(PYTHON)" bootstrap.py check

# make bench ARGS=--write puts the figures into docs/benchmarks.md
bench:
	@"$(PYTHON)" bootstrap.py bench $(ARGS)

# make soak ARGS="--write tests/faults/test_history.py" runs a part, and puts its rows into docs/benchmarks.md
soak:
	@"$(PYTHON)" bootstrap.py soak $(ARGS)

# the pictures in docs/pictures, taken anew
shots:
	@SHOTS=1 "$(PYTHON)" bootstrap.py test -k picture $(ARGS)

# make agent NAME=two
agent:
	@"$(PYTHON)" bootstrap.py agent "$(NAME)"

clean-demo:
	@"$(PYTHON)" bootstrap.py clean-demo
