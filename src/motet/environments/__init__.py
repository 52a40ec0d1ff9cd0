"""Virtual environments for services that want other packages than the server has: made once for each set of packages, and kept."""

from motet.environments.building import Built, build, hold, resolve
from motet.environments.packages import Packages, packages_of
from motet.environments.store import Stored, prune, stored

__all__ = ["Built", "Packages", "Stored", "build", "hold", "packages_of", "prune", "resolve", "stored"]
