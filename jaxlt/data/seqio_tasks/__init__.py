"""seqio tasks over the sources of this package, and seqio tasks as sources. All need TensorFlow."""

from jaxlt.data.quietly import import_tensorflow

import_tensorflow()
