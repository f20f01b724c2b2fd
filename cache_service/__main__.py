"""`python -m cache_service` is `cache-service`."""

from cache_service.cli import main

if __name__ == "__main__":
    main()
