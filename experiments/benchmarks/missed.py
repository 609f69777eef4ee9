"""Why a target is missed: what was tried, and what limits it, by the beginning of a row's name.

Written by hand, from measurements side by side; shown below the table while the row is missed.
"""

WHY: dict[str, str] = {}
