"""Stage ``teacher``: noise prediction on VAE latents (Eq. 3-5, 8-10)."""

from torch import Tensor

from tsd.clip import Clip
from tsd.diffusion import Schedule, many_steps
from tsd.modules.denoiser import DenoiserStage


class TeacherModule(DenoiserStage):
    """Learns the noise at all strengths, from almost no noise to almost nothing but noise."""

    @property
    def schedules(self) -> dict[str, Schedule]:
        """Its steps from pure noise, stored with its weights. They end at ``shared_from``: below it the net has not
        been trained on noise that all frames share, which a video starts from."""
        return {"many": many_steps() if self.shared_from is None else many_steps(self.shared_from)}

    def step_losses(self, clip: Clip) -> dict[str, Tensor]:
        latents = self.latents(clip)
        noisy = self.noisy(latents.z)  # Eq. 3
        eps_hat = self.net(noisy.z_s, noisy.s, self.condition(clip, latents.reference))  # Eq. 4
        return self.objective(clip, latents, noisy, eps_hat)  # Eq. 5, 8, 9
