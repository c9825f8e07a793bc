from django.urls import path

from bench import views

urlpatterns = [
    path("hello", views.hello),
    path("page", views.page, name="page"),
    path("body100k", views.body100k),
    path("db", views.db),
    path("pgpage", views.pgpage),
    path("pgquery", views.pgquery),
    path("hash", views.hash_password),
    path("stream", views.stream),
    path("upload", views.upload),
    *(path(view.__name__, view) for view in (views.healthz, views.wait, views.compute, views.large)),
    *(path(view.__name__, view) for view in (views.digest, views.echo)),
]
