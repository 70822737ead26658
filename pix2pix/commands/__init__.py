"""What is done before and after a training: one file a command, and what they share."""

# First of all, as it keeps TensorFlow's chatter back while that is loaded.
import image_to_image_translation as image_to_image_translation
