"""Names of the classes of data sets whose files hold numbers alone, in the order of the numbers."""

import string


def _listed(names: str) -> tuple[str, ...]:
    return tuple(names.split("; "))


DIGITS = tuple("0123456789")
_UNLIKE = "abdefghnqrt"  # small letters that do not look like their capitals
EMNIST = {
    "balanced": (*DIGITS, *string.ascii_uppercase, *_UNLIKE),
    "byclass": (*DIGITS, *string.ascii_uppercase, *string.ascii_lowercase),
    "bymerge": (*DIGITS, *string.ascii_uppercase, *_UNLIKE),
    "digits": DIGITS,
    "letters": tuple(string.ascii_lowercase),
    "mnist": DIGITS,
}
"""Split of EMNIST → its classes. `letters` has capitals and small letters in one class."""
FASHION = _listed(
    "T-shirt/top; Trouser; Pullover; Dress; Coat; Sandal; Shirt; Sneaker; Bag; Ankle boot"
)
CIFAR10 = _listed("airplane; automobile; bird; cat; deer; dog; frog; horse; ship; truck")
KMNIST = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
_ORGANS = _listed(
    "bladder; femur-left; femur-right; heart; kidney-left; kidney-right; liver; lung-left; "
    "lung-right; pancreas; spleen"
)
MEDMNIST = {
    "bloodmnist": _listed(
        "basophil; eosinophil; erythroblast; immature granulocytes (myelocytes, metamyelocytes "
        "and promyelocytes); lymphocyte; monocyte; neutrophil; platelet"
    ),
    "breastmnist": _listed("malignant; normal, benign"),
    "chestmnist": _listed(
        "atelectasis; cardiomegaly; effusion; infiltration; mass; nodule; pneumonia; "
        "pneumothorax; consolidation; edema; emphysema; fibrosis; pleural; hernia"
    ),
    "dermamnist": _listed(
        "actinic keratoses and intraepithelial carcinoma; basal cell carcinoma; benign "
        "keratosis-like lesions; dermatofibroma; melanoma; melanocytic nevi; vascular lesions"
    ),
    "octmnist": _listed("choroidal neovascularization; diabetic macular edema; drusen; normal"),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
    "pathmnist": _listed(
        "adipose; background; debris; lymphocytes; mucus; smooth muscle; normal colon mucosa; "
        "cancer-associated stroma; colorectal adenocarcinoma epithelium"
    ),
    "pneumoniamnist": _listed("normal; pneumonia"),
    "retinamnist": DIGITS[:5],
    "tissuemnist": _listed(
        "Collecting Duct, Connecting Tubule; Distal Convoluted Tubule; Glomerular endothelial "
        "cells; Interstitial endothelial cells; Leukocytes; Podocytes; Proximal Tubule Segments; "
        "Thick Ascending Limb"
    ),
}
"""Data set of MedMNIST → its classes. An image of ChestMNIST may have several."""
