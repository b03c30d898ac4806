"""Train a task by plain Lightning, without a config: python plain_lightning.py DATA_FOLDER."""

import sys
from functools import partial

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from hspi_learn import Adversary, CorrectionUNet, GanReconstruction, PatchDiscriminator, ScanDataModule

if __name__ == "__main__":
    data = ScanDataModule(sys.argv[1], windows_kev=[20, 100, 250, 320, 380, 480, 600], batch_size=2)
    generator = partial(CorrectionUNet, channels=(4, 8), strides=(1,), residual_units=1)
    adversary = Adversary(partial(PatchDiscriminator, channels=4), weight=0.01)
    task = GanReconstruction(data.system, data.windows.boundaries_kev, generator, adversary)
    stop, keep = EarlyStopping("val/nrmse", patience=3), ModelCheckpoint(monitor="val/nrmse")
    trainer = Trainer(max_epochs=2, callbacks=[stop, keep], logger=False, accelerator="cpu")
    trainer.fit(task, datamodule=data)
    print(trainer.test(task, datamodule=data, verbose=False)[0]["test/nrmse"])
