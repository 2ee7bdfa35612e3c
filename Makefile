.PHONY: test hunt check format bench

test:            ## run the tests
	python -m pytest

hunt:            ## run the property tests on random examples
	HYPOTHESIS_PROFILE=hunt python -m pytest

check:           ## lint, types, layers
	python -m ruff check src tests bench zoo
	python -m ruff format --check src tests bench zoo
	python -m mypy
	lint-imports

format:          ## rewrite in house style
	python -m ruff format src tests bench zoo
	python -m ruff check --fix src tests bench zoo

bench:           ## measure against transformers
	python bench/engines.py
	python bench/sampling.py
