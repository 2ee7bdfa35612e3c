"""Build scripts of the embedded model ``zoo:seedling``: a small invented world, the tasks
drawn from it, the training run, the export and the measurements. Not part of the wheel.

The order of reading: ``world`` -> ``facts`` -> one module per task -> ``mixture`` ->
``vocabulary`` -> ``network`` -> ``train`` -> ``export`` -> ``measure`` -> ``card``.
"""
