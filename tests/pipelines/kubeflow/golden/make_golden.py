"""The files that Kubeflow gets for the digits pipeline; run it to write them again, and read the difference."""

from __future__ import annotations

import pathlib

FOLDER = pathlib.Path(__file__).parent
# All else is the same on TFX 1.16 and 1.21.
_VERSION = 'TFX_VERSION'


def digits(form: str) -> str:
    """The digits pipeline as the text of a format, without the version of TFX."""
    import tfx

    from tfx_edge.pipelines.digits.kubeflow_pipeline import create_pipeline
    from tfx_edge.pipelines.kubeflow.compilation import as_text, compile_pipeline
    from tfx_edge.pipelines.local import BEAM_ARGS

    roots = {'kfp': 'minio://mlpipeline/v2/artifacts', 'vertex': 'gs://bucket/digits'}
    pipeline = create_pipeline(
        roots[form], '/data/digits', '/serving/digits', beam_pipeline_args=list(BEAM_ARGS)
    )
    job = compile_pipeline(pipeline, 'registry.example/digits:1', form)
    # They name the interpreter and TFX, each in its own spelling.
    job['labels'] = sorted(job['labels'])
    return as_text(job, form).replace(f'tfx-{tfx.__version__}', f'tfx-{_VERSION}')


if __name__ == '__main__':
    for form, name in (('kfp', 'digits.yaml'), ('vertex', 'digits.json')):
        (FOLDER / name).write_text(digits(form), encoding='utf-8')
