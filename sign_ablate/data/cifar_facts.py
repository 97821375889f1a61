"""Classes, sizes and digests of CIFAR-10 and CIFAR-100."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Facts:
    """Facts about a published data set of 32×32 RGB images.

    The digest of an image is the SHA-256 of its label (one byte) and its 3,072 bytes of pixels, row by row
    with the channels last. The digest of a split is the SHA-256 of the sorted digests of its images, so it
    does not depend on their order.
    """

    #: name of the label column in Parquet shards
    column: str
    classes: tuple[str, ...]
    digests: dict[str, str]
    counts: dict[str, int] = dataclasses.field(default_factory=lambda: {"train": 50_000, "test": 10_000})


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
    can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
    lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree
    pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
    seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table
    tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
    worm
"""

FACTS = {
    "cifar10": Facts(
        "label",
        CIFAR10,
        {
            "train": "d59acf989e068e709ce686cda292672c7b212c08d29d3d3e6d8c3aa99eba6a85",
            "test": "899683d46c3a8c66fd56e1af12202e69fe5a4517be10b0f68e04c78fe585c57c",
        },
    ),
    "cifar100": Facts(
        "fine_label",
        tuple(CIFAR100.split()),
        {
            "train": "36ce7a701fbea47796e570c34382aad50f2539687cfcbc6ae96e2f56530d29b6",
            "test": "d3cd5d87a1b9317a0982c8ef5535fe3b86da8da90b13ce5e9b23ea06400dd5eb",
        },
    ),
}
