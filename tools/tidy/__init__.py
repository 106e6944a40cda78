"""Rules of this code base that no general linter knows.

Each rule takes the root of a checkout and returns its complaints as `file:line: message`.
"""

from collections.abc import Callable
from pathlib import Path

from tools.tidy import boundaries, code, sql, text

RULES: tuple[Callable[[Path], list[str]], ...] = (
    boundaries.import_direction,
    boundaries.foundation,
    code.imports_inside_functions,
    code.sizes,
    code.vague_names,
    code.environment_reads,
    code.mocks,
    text.download_addresses,
    text.leftover_markers,
    sql.money_path,
    sql.money_writes,
    sql.composed_sql,
)
