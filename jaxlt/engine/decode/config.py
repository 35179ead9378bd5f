"""What decoding does, as one frozen value."""

import dataclasses

from jaxlt.errors import UserError, check_least, check_one_of

EOS = 1
METHODS = ("greedy", "sample", "beam")


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """How tokens are chosen.

    'greedy' takes the best; 'sample' draws by temperature, then top_k (0: all), then top_p; 'beam'
    keeps `beams` hypotheses and ranks them by their sum of log-probabilities divided by GNMT's
    penalty ((5 + length) / 6) ** length_penalty, as T5 does. `returns`: sequences a row, n-best or
    as many draws. A draw depends on seed, number of the row and its own number alone.
    """

    length: int = 128  # tokens at most, forced ones and the end included
    method: str = "greedy"
    beams: int = 4
    returns: int = 1
    length_penalty: float = 0.6
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    end: int = EOS  # the token that ends a row; -1: none does

    def __post_init__(self) -> None:
        check_one_of("DecodingConfig.method", self.method, METHODS)
        check_least(self, 1, "length", "beams", "returns")
        if self.temperature <= 0:
            raise UserError(
                f"DecodingConfig.temperature is above 0, not {self.temperature}; for the best "
                "token every time set method = 'greedy'."
            )
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise UserError(
                "DecodingConfig.top_k is 0 (all) or more, and top_p above 0 and at most 1; not "
                f"{self.top_k} and {self.top_p}."
            )
        most = {"greedy": 1, "beam": self.beams}.get(self.method, self.returns)
        if self.returns > most:
            raise UserError(
                f"DecodingConfig.returns = {self.returns}, and method '{self.method}' has {most} "
                "to return" + (": raise beams." if self.method == "beam" else ".")
            )

    @property
    def hypotheses(self) -> int:
        """Hypotheses that a row goes through the decoder with."""
        return self.beams if self.method == "beam" else self.returns
