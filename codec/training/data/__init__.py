"""What networks are trained on: photos, labelled images, what is done to them."""
