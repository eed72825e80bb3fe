"""What is evaluated as a file: loaded, run, timed, measured tensor by tensor."""
