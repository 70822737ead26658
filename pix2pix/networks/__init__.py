"""What goes beyond the paper's networks or runs them faster, and what they run on."""

from pix2pix.networks import critic, devices
from pix2pix.networks.class_discriminator import build_class_discriminator
from pix2pix.networks.fast_layers import with_fast_layers
from pix2pix.networks.fused_adam import build_adam
from pix2pix.networks.gan_losses import CLASS_LOSS, OTHER_GAN_LOSSES, GanLoss
