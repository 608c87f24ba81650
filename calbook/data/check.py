"""Looking over a data folder: every defect of its annotations and pictures, named."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from calbook.data.annotations import Entry, find_defects, is_picture_name, load, person_category, selected
from calbook.data.coco import LAYOUT, annotation_files, clashes, pictures_folder
from calbook.data.defects import DataError, Defect
from calbook.data.pictures import SUFFIXES, read_pixels


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        defects: In the order of the files.
        summary: One line of counts for each sound annotation file.
    """

    defects: list[Defect]
    summary: list[str]

    @property
    def passed(self) -> bool:
        """Whether there is nothing worse than warnings."""
        return all(defect.severity == "warning" for defect in self.defects)


def check(path: Path | str, *, progress: bool = False) -> Report:
    """Check a data folder, or one annotation file without its pictures.

    Every annotation entry is looked at and every picture decoded to its last pixel.
    Nothing is changed.

    Args:
        path: A folder in COCO's layout, or an annotation file.
        progress: Show a progress bar if it takes longer than two seconds.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    if path.is_file():
        return _check_files([path], path.parent, False, progress)
    files = annotation_files(path)
    if not files:
        return Report([Defect(str(path), "", "", "no keypoint annotations", LAYOUT)], [])
    return _check_files(files, path, True, progress)


def _check_files(files: list[Path], root: Path, pictures: bool, progress: bool) -> Report:
    defects = [_renamed(defect, Path(defect.file).relative_to(root).as_posix()) for defect in clashes(files)]
    summary: list[str] = []
    for file in files:
        name = file.relative_to(root).as_posix()
        try:
            document = load(file)
        except DataError as error:
            defects.append(_renamed(error.defect, name))
            continue
        except OSError as error:
            defects.append(Defect(name, "", "", f"cannot be read ({error.strerror})", "make it a readable file"))
            continue
        defects += find_defects(document, name)
        images = document.get("images") if isinstance(document, dict) else None
        if pictures and isinstance(images, list):
            defects += _picture_defects(images, pictures_folder(file), root, name, progress)
        if not any(defect.file == name and defect.severity == "fatal" for defect in defects):
            summary.append(f"{name}: {_counts(document)}")
    return Report(defects, summary)


def _picture_defects(
    images: list[Entry], folder: Path, root: Path, annotations: str, progress: bool
) -> Iterator[Defect]:
    """Missing, damaged and wrongly sized pictures of one split, and those without an entry."""
    if not folder.is_dir():
        problem = f"the folder of its pictures, {folder.relative_to(root).as_posix()}/, is missing"
        yield Defect(annotations, "", "", problem, "copy the pictures there")
        return
    named = [image for image in images if isinstance(image, dict) and is_picture_name(image.get("file_name"))]
    for image in tqdm(named, desc=folder.name, unit="picture", delay=2, disable=not progress, leave=False):
        file = folder / image["file_name"]
        name = file.relative_to(root).as_posix()
        try:
            size = tuple(read_pixels(file).shape[1:])
        except DataError as error:
            yield _renamed(error.defect, name, entry=f"image {image.get('id')} of {annotations}", field="file_name")
            continue
        if size != (image.get("height"), image.get("width")):
            problem = f"{size[0]}x{size[1]}, annotated as {image.get('height')}x{image.get('width')} (height x width)"
            remedy = "get the original picture or correct the entry"
            yield Defect(name, f"image {image.get('id')} of {annotations}", "width, height", problem, remedy)
    known = {image["file_name"] for image in named}
    found = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    orphans = sorted(str(file.relative_to(folder).as_posix()) for file in found)
    orphans = [name for name in orphans if name not in known]
    if orphans:
        some = ", ".join(orphans[:3]) + (", ..." if len(orphans) > 3 else "")
        problem = f"pictures without an entry in {annotations}: {len(orphans)} ({some})"
        yield Defect(folder.name, "", "", problem, "add entries or remove the files", "warning")


def _counts(document: Entry) -> str:
    """Counts of a sound document, for people."""
    category = person_category(document)
    persons = [entry for entry in document["annotations"] if entry["category_id"] == category["id"]]
    posed = [person for person in persons if selected(person)]
    joints = sum(person["num_keypoints"] for person in posed)
    crowds = sum(bool(person["iscrowd"]) for person in persons)
    areas = "" if all("area" in person for person in posed) else "; no areas, so no AP"
    return (
        f"{len(document['images'])} images, {len(persons)} persons, of which {crowds} crowds and "
        f"{len(posed)} with joints ({joints} labelled joints of {len(category['keypoints'])} kinds{areas})"
    )


def _renamed(defect: Defect, file: str, entry: str = "", field: str = "") -> Defect:
    """A defect with its file named from the folder checked."""
    return Defect(file, entry or defect.entry, field or defect.field, defect.problem, defect.remedy, defect.severity)
