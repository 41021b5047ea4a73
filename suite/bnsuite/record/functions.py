"""The roles of functions that a user may judge in the place of torch's: the outer half's one table of them.

A role is also a field of ``RunOptions``. ``cases/functions.py`` lists the same roles for the measured process.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """A function of torch's that a user's may stand in for."""

    #: As in ``run.json``.
    name: str
    #: The beginning of the ids of the cases that judge it.
    family: str
    #: What of torch's it stands in for.
    replaces: str
    #: What it does, in two words at most.
    title: str
    #: The help of its option.
    help: str

    @property
    def option(self) -> str:
        """The option that names the function; in a comparison it ends in "-b"."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The variable of a measured process that names the function."""
        return f"BNSUITE_{self.name.upper()}"


ROLES = {
    role.name: role
    for role in (
        Role(
            name="fold",
            family="behaviour/folding/",
            replaces="torch's folding",
            title="folding",
            help="Judge this function that folds batch norm into a convolution or linear layer (or FILE.py:FUNCTION).",
        ),
        Role(
            name="update_bn",
            family="behaviour/update-bn/",
            replaces="torch's update_bn",
            title="statistics pass",
            help="Judge this function that takes the running statistics of a model anew (or FILE.py:FUNCTION).",
        ),
    )
}
