"""
Goal: storage in this process answers the app's adapters as Azurite does. Method: the suites that run against Azurite, unchanged.

Its pages hold three names, so every listing of more is read in several requests.
"""

from tests.contract.test_datasets import *  # noqa: F403
from tests.contract.test_ledger import *  # noqa: F403
from tests.contract.test_places import *  # noqa: F403
from tests.contract.test_prefetch import *  # noqa: F403
from tests.contract.test_turns import *  # noqa: F403
