"""Opening MATLAB's .mat files, in which older data sets are published."""

from pathlib import Path
from typing import Any

from calbook.data.defects import DataError, Defect
from calbook.data.matlab_tags import check_tags

_COPY = "copy or download the file again"


def load_mat(path: Path | str, variable: str, **options: Any) -> Any:
    """One variable of a ``.mat`` file, as scipy reads it.

    Args:
        path: The file.
        variable: Name of the variable.
        **options: Of ``scipy.io.loadmat``.

    Raises:
        DataError: scipy is missing, the file cannot be read, or it has no such variable.
        OSError: The file cannot be opened.
    """
    path = Path(path)
    try:
        from scipy.io import loadmat
    except ImportError:
        problem = "a MATLAB file, which only scipy can read, and scipy is not installed"
        raise DataError(Defect(str(path), "", "", problem, "install it: pip install scipy")) from None
    with path.open("rb") as file:
        try:
            check_tags(file.read())  # scipy trusts them
            file.seek(0)
            content: dict[str, Any] = loadmat(file, **options)
        except NotImplementedError:  # scipy's word for version 7.3
            problem = "a MATLAB file of version 7.3, which scipy cannot read"
            raise DataError(Defect(str(path), "", "", problem, "save it with: save -v7")) from None
        except Exception as error:  # on damaged files scipy raises whatever their bytes ask for
            problem = f"not a MATLAB file, cut short or damaged ({type(error).__name__})"
            raise DataError(Defect(str(path), "", "", problem, _COPY)) from None
    if variable not in content:
        names = ", ".join(sorted(name for name in content if not name.startswith("__"))) or "nothing"
        raise DataError(Defect(str(path), "", variable, f"missing; the file holds {names}", "name the published file"))
    return content[variable]
