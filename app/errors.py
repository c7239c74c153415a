"""Every error the service raises on purpose.

::

    ServiceError
    ├ UsageError            the caller's fault; asking again the same way is pointless
    │  ├ ParameterError     (name, reason)
    │  │  ├ MultiValuedParameterError
    │  │  └ UnsupportedFormatError
    │  ├ AdqlError          (message, line, column)
    │  │  ├ AdqlSyntaxError
    │  │  ├ UnknownNameError
    │  │  ├ AdqlTypeError
    │  │  └ AdqlUnsupportedError
    │  ├ UploadError        (table, reason)
    │  ├ RegionError        (text, reason)
    │  ├ RecipeError        (reason)
    │  ├ PhaseError         (phase, event)
    │  ├ SignatureError     (reason)
    │  ├ AuthenticationError (reason)  who asks must be known
    │  │  └ TokenError      (reason)
    │  ├ ForbiddenError     (reason)   who asks is known, and may not
    │  └ LimitError         (what, asked, allowed)
    ├ NotFoundError
    │  ├ DatasetNotFoundError  (identifier)
    │  └ JobNotFoundError      (identifier)
    ├ NoOverlapError        (what) the asked region has no pixels
    ├ TransientError        may succeed later
    │  ├ StoreUnavailableError (reason)
    │  ├ RemoteUnavailableError (file, reason)
    │  ├ ProviderUnavailableError ()  the identity provider is away
    │  ├ EngineBusyError       (reason)
    │  ├ StorageFullError      (file)
    │  ├ StorageReadOnlyError  (file)
    │  ├ TooBusyError          ()
    │  ├ TooManyJobsError      (limit)
    │  ├ AllowanceError        (limit, …, wait_s)   of one account
    │  │  ├ TooManyRequestsError
    │  │  └ StorageQuotaError
    │  ├ StoppingError         ()   the server ends
    │  ├ StoppedError          ()   the job was aborted while it ran
    │  └ TimeLimitError        (what, limit_s)
    └ ComputationError      the data do not allow the answer
       ├ ImageFormatError   (url, reason)
       ├ KernelFitError     (found, needed)
       └ CoverageError      (what, found, needed)

Facts are positional arguments and the first line of a class's docstring is its message (a
``str.format`` template over those arguments, whose ``!r`` and ``!s`` shorten them), so every error
pickles and reads the same in a worker, a job record and a response.
"""

from __future__ import annotations

from collections.abc import Callable
from string import Formatter
from typing import Any, Final

_SHOWN: Final = 100
"""Characters of a value that an error repeats."""


def quoted(value: object) -> str:
    """A value of a request in quotes, as an error repeats it."""
    return shortened(value, repr)


def shortened(value: object, write: Callable[[str], str] = str) -> str:
    """A value of a request as an error repeats it: of a long one the beginning and the length."""
    text = str(value)
    if len(text) <= _SHOWN:
        return write(text)
    return f"{write(text[:_SHOWN])}… ({len(text)} characters)"


class _Message(Formatter):
    """Templates whose ``!r`` and ``!s`` shorten what may be long."""

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        ways = {"r": quoted, "s": shortened}
        return ways[conversion](value) if conversion else value


class ServiceError(Exception):
    """{0}"""

    def __str__(self) -> str:
        template = (type(self).__doc__ or "{0}").strip().splitlines()[0]
        return _Message().vformat(template, self.args, {})


class UsageError(ServiceError):
    """{0}"""


class ParameterError(UsageError):
    """Parameter {0!s}: {1}"""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)


class MultiValuedParameterError(ParameterError):
    """Parameter {0!s} may be given once only: {1}"""


class UnsupportedFormatError(ParameterError):
    """Parameter {0!s}: this format is not offered: {1}"""


class AdqlError(UsageError):
    """{0} (line {1}, column {2})"""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message, line, column)

    @property
    def line(self) -> int:
        """1-based line of the fault in the query text."""
        return int(self.args[1])

    @property
    def column(self) -> int:
        """1-based column of the fault in the query text."""
        return int(self.args[2])


class AdqlSyntaxError(AdqlError):
    """Syntax: {0} (line {1}, column {2})"""


class UnknownNameError(AdqlError):
    """Unknown name: {0} (line {1}, column {2})"""


class AdqlTypeError(AdqlError):
    """Type: {0} (line {1}, column {2})"""


class AdqlUnsupportedError(AdqlError):
    """Not supported: {0} (line {1}, column {2})"""


class UploadError(UsageError):
    """Upload {0!s}: {1}"""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(table, reason)


class RegionError(UsageError):
    """Region {0!r}: {1}"""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)


class RecipeError(UsageError):
    """This cannot be built: {0}"""


class PhaseError(UsageError):
    """A job in phase {0} does not accept {1}"""

    def __init__(self, phase: str, event: str) -> None:
        super().__init__(phase, event)


class SignatureError(UsageError):
    """This file link is not valid: {0}"""


class AuthenticationError(UsageError):
    """Not signed in: {0}"""


class TokenError(AuthenticationError):
    """This token is not valid: {0}"""


class ForbiddenError(UsageError):
    """Not allowed: {0}"""


class LimitError(UsageError):
    """The limit of {0} is {2}; asked for {1!s}"""

    def __init__(self, what: str, asked: object, allowed: object) -> None:
        super().__init__(what, asked, allowed)


class NotFoundError(ServiceError):
    """{0} not found"""


class DatasetNotFoundError(NotFoundError):
    """No dataset has the identifier {0!r}"""


class JobNotFoundError(NotFoundError):
    """No job has the identifier {0!r}"""


class NoOverlapError(ServiceError):
    """No pixels there: {0}"""


class TransientError(ServiceError):
    """{0}"""


class StoreUnavailableError(TransientError):
    """The database does not answer: {0}"""


class RemoteUnavailableError(TransientError):
    """The storage of {0!s} does not answer now ({1}); try again later"""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(file, reason)


STORE_UNAVAILABLE = "The database does not answer now; try again later"


def told(error: ServiceError) -> str:
    """The words of an error for a client. Why a database does not answer may name hosts, users
    and files; that is for the operator's eyes."""
    return STORE_UNAVAILABLE if isinstance(error, StoreUnavailableError) else str(error)


class ProviderUnavailableError(TransientError):
    """The identity provider does not answer now, so nobody can tell whose token this is"""


class EngineBusyError(TransientError):
    """The workers cannot take this job now: {0}"""


class TooBusyError(TransientError):
    """As many queries are running as the service can take; try again later"""


class TooManyJobsError(TransientError):
    """The limit of jobs of one client that have not ended is {0}; try again when one has"""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)


class AllowanceError(TransientError):
    """The limit of one client is {0}; try again in {1} s"""

    @property
    def wait_s(self) -> int:
        """Seconds until it may be worth to ask again."""
        return int(self.args[-1])


class TooManyRequestsError(AllowanceError):
    """The limit of requests of one client is {0:g} in a second; try again in {1} s"""

    def __init__(self, per_s: float, wait_s: int) -> None:
        super().__init__(per_s, wait_s)


class StorageQuotaError(AllowanceError):
    """The limit of bytes that one client's jobs hold is {0}; delete jobs, or try again in {1} s"""

    def __init__(self, limit: int, wait_s: int) -> None:
        super().__init__(limit, wait_s)


class StoppingError(TransientError):
    """The service is stopping; try again later"""


class StorageFullError(TransientError):
    """No space is left to write {0}"""


class StorageReadOnlyError(TransientError):
    """Nothing can be written now, the storage is read only: {0}"""


class StoppedError(TransientError):
    """The job was stopped"""


class TimeLimitError(TransientError):
    """{0} took longer than {1} s"""

    def __init__(self, what: str, limit_s: float) -> None:
        super().__init__(what, limit_s)


class ComputationError(ServiceError):
    """{0}"""


class ImageFormatError(ComputationError):
    """{0} is not a usable image: {1}"""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)


class KernelFitError(ComputationError):
    """The matching kernel needs {1} usable stamps; {0} were found"""

    def __init__(self, found: int, needed: int) -> None:
        super().__init__(found, needed)


class CoverageError(ComputationError):
    """{0}: found {1}, needed {2}"""

    def __init__(self, what: str, found: object, needed: object) -> None:
        super().__init__(what, found, needed)
