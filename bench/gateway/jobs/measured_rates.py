"""The payload rates of past transfers, on disk, from which the expected duration of the next update is computed."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

_KEPT: Final = 16
"""The number of transfers that count. Older ones are of little use: ECUs, buses and their load change."""


class _Base(DeclarativeBase):
    pass


class _RateRow(_Base):
    __tablename__ = "rates"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    bytes_per_s: Mapped[float]


class MeasuredRates:
    """The rates of the last transfers. Only the event loop's thread uses it.

    Args:
        engine: the gateway's database (``Store.engine``).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _Base.metadata.create_all(engine)

    def note(self, bytes_per_s: float) -> None:
        """Write the mean rate of a transfer that has ended."""
        with Session(self._engine) as session, session.begin():
            row = _RateRow(bytes_per_s=bytes_per_s)
            session.add(row)
            session.flush()
            session.execute(delete(_RateRow).where(_RateRow.number <= row.number - _KEPT))

    def slowest_and_fastest(self) -> tuple[float, float] | None:
        """Return the rates of the slowest and the fastest of these transfers; None: nothing was transferred yet."""
        with Session(self._engine) as session:
            rates = session.scalars(select(_RateRow.bytes_per_s)).all()
            return (min(rates), max(rates)) if rates else None
