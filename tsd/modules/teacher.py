"""Stage ``teacher``: noise prediction on VAE latents (Eq. 3-5, 8-10)."""

from torch import Tensor

from tsd import losses
from tsd.clip import Clip
from tsd.diffusion import Schedule, many_steps, z0_from_eps
from tsd.modules.base import eyes_region, mouth_region
from tsd.modules.denoiser import DenoiserStage


class TeacherModule(DenoiserStage):
    """Learns the noise at every strength from nearly none to nothing of z left."""

    @property
    def schedules(self) -> dict[str, Schedule]:
        """Its steps from pure noise, stored with its weights: down to ``shared_from``, below which it never meets the
        noise that a video begins with."""
        return {"many": many_steps() if self.shared_from is None else many_steps(self.shared_from)}

    def step_losses(self, clip: Clip) -> dict[str, Tensor]:
        z, reference_latent = self.latents(clip)
        z_s, s, eps = self.noisy(z)  # Eq. 3
        eps_hat = self.net(z_s, s, self.condition(clip, reference_latent))  # Eq. 4
        share, weight = self.own_share(clip, s), self.weight(clip, s)
        terms = {"noise": losses.noise(eps_hat, eps, weight)}  # Eq. 5
        if self.loss.mouth and clip.mouth_box is not None:
            terms["mouth"] = losses.mouth(eps_hat, eps, weight, mouth_region(clip, z.shape[-1]))
        if self.loss.eyes:
            terms["eyes"] = losses.eyes(eps_hat, eps, weight, eyes_region(clip, z.shape[-1]))
        z0_hat = z0_from_eps(z_s, eps_hat, s)
        terms |= self.latent_terms(clip, z, z0_hat, reference_latent, share)
        return terms | self.picture_terms(clip, z, z0_hat, reference_latent)  # Eq. 8, 9
