"""The training data: photos, labelled images, and their augmentation."""
