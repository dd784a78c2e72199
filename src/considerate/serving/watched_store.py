"""The store of a running service: opened at its first use, and anew when it is replaced or comes back."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from sqlalchemy import Connection, Engine, make_url

from considerate.errors import StoreBusy, StoreError, StoreUnavailable
from considerate.store.engine import display_name, glancing, open_store, reading, recording, writing

FIRST_SECONDS = 5.0
ADMIT_SECONDS = 2.0
"""How often a database that is open is admitted again: one can be rolled back under whoever uses it."""
REFUSED_SECONDS = 1.0
"""For how long a refused database is not asked again."""


class WatchedStore:
    """An engine that follows its database: one that was replaced, damaged or removed is not read from old pages.

    Parameters
    ----------
    url
        SQLAlchemy URL.
    read_only
        Never write.
    timeout_ms
        How long a use waits at most, in milliseconds: for another process's write, and on PostgreSQL for the server
        altogether.
    admit
        Looks at a database that was just opened, and again every few seconds; raises StoreError where it must not be
        used.
    """

    def __init__(
        self, url: str, *, read_only: bool, timeout_ms: int, admit: Callable[[Connection], None] | None = None
    ) -> None:
        self._url, self._read_only, self._timeout_ms = url, read_only, timeout_ms
        self._admit = admit
        self._admit_again = float("-inf")
        self._refusal: tuple[float, str] | None = None
        address = make_url(url)
        self._name = display_name(address)
        self._file = Path(address.database) if address.get_backend_name() == "sqlite" and address.database else None
        self._engine: Engine | None = None
        self._stamp: tuple[int, ...] | None = None
        self._times_opened = 0
        self._tried = False
        self._opening: Future[Engine] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def connection(self, *, single: bool = False) -> Iterator[Connection]:
        """Give a connection from `reading`, or from `glancing` for a `single` statement."""
        with self._in_use() as engine, (glancing if single else reading)(engine) as conn:
            yield conn

    @contextmanager
    def transaction(self, *, shared: bool = False) -> Iterator[Connection]:
        """Give a connection from `writing`, or from `recording` if `shared`."""
        with self._in_use() as engine, (recording if shared else writing)(engine) as conn:
            yield conn

    @property
    def identity(self) -> object:
        """Which database is open, None before the first: another one may count its changes up to the same number."""
        if self._file is None:
            return self._times_opened or None
        # Unlike the whole stamp, these outlive a checkpoint.
        return None if self._stamp is None else self._stamp[:2]

    def close(self) -> None:
        """Close every connection; the next use opens the store again."""
        with self._lock:
            self._dispose()
            self._opening, self._tried, self._refusal = None, False, None

    @contextmanager
    def _in_use(self) -> Iterator[Engine]:
        engine = self._current()
        try:
            self._admit_if_due(engine)
            yield engine
        except StoreBusy:
            # The server works, and is the same as before: the others' connections stay.
            raise
        except StoreUnavailable:
            # Whatever answers next may be another database, restored from a backup or of another schema.
            with self._lock:
                if engine is self._engine and self._file is None:
                    self._dispose()
            raise

    def _current(self) -> Engine:
        stamp = self._file_stamp()
        with self._lock:
            if self._refusal is not None and monotonic() < self._refusal[0]:
                raise StoreError(self._refusal[1])
            if self._engine is not None and stamp == self._stamp:
                return self._engine
            if self._file is not None:
                self._dispose()
                self._engine, self._stamp = self._open(), stamp
                return self._engine
            # Only the first attempt is waited for: it loads the driver, before anybody asks for a list.
            seconds = self._timeout_ms / 1000 if self._tried else FIRST_SECONDS
            opening, self._tried = self._opening or self._start_opening(), True
        try:
            return opening.result(seconds)
        except NotInTime:
            raise StoreUnavailable(f"{self._name}: does not answer in time; it is opened again meanwhile") from None

    def _open(self) -> Engine:
        engine = open_store(
            self._url,
            create=False,
            read_only=self._read_only,
            busy_timeout_ms=self._timeout_ms,
            limit_ms=self._timeout_ms,
        )
        try:
            self._look_at(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _look_at(self, engine: Engine) -> None:
        if self._admit is None:
            return
        self._admit_again = monotonic() + ADMIT_SECONDS
        try:
            with reading(engine) as conn:
                self._admit(conn)
        except StoreUnavailable:
            self._admit_again = float("-inf")
            raise
        except StoreError as refusal:
            # Opened anew by whoever comes after that, as it may be put right by then.
            self._refusal = monotonic() + REFUSED_SECONDS, str(refusal)
            raise
        self._refusal = None

    def _admit_if_due(self, engine: Engine) -> None:
        if monotonic() < self._admit_again or self._admit is None:
            return
        try:
            self._look_at(engine)
        except StoreUnavailable:
            raise
        except StoreError:
            with self._lock:
                if engine is self._engine:
                    self._dispose()
            raise

    def _start_opening(self) -> "Future[Engine]":
        opening: Future[Engine] = Future()
        self._opening = opening

        def work() -> None:
            try:
                engine = self._open()
            except BaseException as error:  # whoever waits gets to see it
                self._opened(opening, None)
                opening.set_exception(error)
                return
            if self._opened(opening, engine):
                opening.set_result(engine)
            else:
                engine.dispose()
                opening.set_exception(StoreUnavailable(f"{self._name}: closed meanwhile; try again"))

        # A thread of its own: what a server, or a name server, does not answer must hold up nobody.
        threading.Thread(target=work, name="open-store", daemon=True).start()
        return opening

    def _opened(self, opening: "Future[Engine]", engine: Engine | None) -> bool:
        """Take what was opened into use, unless nobody wants it any more."""
        with self._lock:
            if self._opening is not opening:
                return False
            self._opening, self._engine = None, engine
            self._times_opened += engine is not None
            return True

    def _dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._engine = None

    def _file_stamp(self) -> tuple[int, ...] | None:
        # In WAL mode the file itself changes at checkpoints only, so connections are rarely opened anew.
        if self._file is None:
            return None
        try:
            stat = self._file.stat()
        except OSError as error:
            raise StoreError(f"{self._file}: cannot be opened: {error.strerror}; restore it from a backup") from error
        return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
