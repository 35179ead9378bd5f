"""Settings of transfer: whose examples train, whose stop training early, and whose are scored.

DataConfig.transfer = @TransferConfig()
TransferConfig.setting = 'few_shot'
TransferConfig.sources = 'eng_Latn'
TransferConfig.k = 8
"""

from dataclasses import dataclass
from typing import Literal

from jaxlt.errors import UserError, check_choices, repeated
from jaxlt.identity import as_tuples

Setting = Literal[
    "zero_shot", "few_shot", "translate_train", "in_language", "multi_source", "joint"
]
StopOn = Literal["source", "target"]
_SOURCES = {  # how many a setting has: at least, at most
    "zero_shot": (1, 1),
    "few_shot": (1, None),
    "translate_train": (1, None),
    "in_language": (0, None),
    "multi_source": (2, None),
    "joint": (1, None),
}


@dataclass(frozen=True)
class TransferConfig:
    """Which languages train and which are transferred to.

    'zero_shot' trains on one source language and 'multi_source' on several; 'few_shot' on the
    sources and `k` examples of each task of each target; 'joint' on sources and targets;
    'in_language' on the targets alone; 'translate_train' on the sources' examples translated into
    the targets, files in `translated`, which are read as the run's own tasks are.

    Without `targets` all other languages of the data are. The k examples are of the training split,
    or where a target has none of the validation split, which then does not stop training, and is
    scored without them. They depend on k, `draw` and the target's examples alone: draws 0, 1, ...
    have no example in common, and those of a smaller k are among them where `draw` is 0. Together
    they are a `share` of the rows of training, the targets alike, whatever mixes the sources;
    DataConfig.rates say otherwise.

    The evaluation while training, early stopping with it, is on the sources' or the targets'
    held-out examples, as `stop_on` says; in_language has only the latter.
    """

    setting: Setting
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    k: int = 8
    draw: int = 0
    translated: tuple[str, ...] = ()
    stop_on: StopOn = "source"
    share: float = 0.1

    def __post_init__(self) -> None:
        as_tuples(self, "sources", "targets", "translated")
        check_choices(self, "TransferConfig.", setting=Setting, stop_on=StopOn)
        least, most = _SOURCES[self.setting]
        count = len(self.sources)
        if count < least or (most and count > most):
            wanted = "exactly one language" if most else f"{least} or more languages"
            other = " Several are the setting 'multi_source'." if most and count > 1 else ""
            raise UserError(
                f"TransferConfig.sources of '{self.setting}' is {wanted}, not "
                f"{', '.join(self.sources) or 'none'}.{other}"
            )
        for field in ("sources", "targets"):
            if twice := repeated(getattr(self, field)):
                raise UserError(f"TransferConfig.{field} names '{twice[0]}' more than once.")
        for name in self.targets:
            if name in self.sources:
                raise UserError(
                    f"TransferConfig.targets names '{name}', which is one of its sources."
                )
        if self.k < 1 or self.draw < 0:
            raise UserError(
                f"TransferConfig.k is at least 1 and draw at least 0, not {self.k} and {self.draw}."
            )
        if not 0 < self.share < 1:
            raise UserError(f"TransferConfig.share is between 0 and 1, not {self.share}.")
        if bool(self.translated) != (self.setting == "translate_train"):
            raise UserError(
                "TransferConfig.translated names the files of the setting 'translate_train'"
                + ("." if self.translated else ", and is empty: give a folder of them.")
            )

    @property
    def stopped_on(self) -> StopOn:
        """Whose held-out examples stop training: the targets' where there is no source."""
        return "target" if self.setting == "in_language" else self.stop_on
